/** The refresh token in a cookie (RFC 6265). */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Config } from '../config.ts'
import { AuthError } from '../models/types.ts'

/**
 * The refresh token in the cookie, if cookies are how refresh tokens travel, and there is one.
 * @throws {AuthError} AUTH_BAD_REQUEST for two that differ: one may have been set by a neighbouring domain, and which
 *   is not told
 */
export function readRefreshCookie(request: FastifyRequest, config: Config): string | undefined {
  const { cookie } = request.headers
  if (config.refreshTransport !== 'cookie' || cookie === undefined) return undefined
  const values = cookie.split(';').map((pair) => request.server.parseCookie(pair)[config.cookieName])
  const tokens = new Set(values.filter((value) => value !== undefined))
  if (tokens.size > 1)
    throw new AuthError('AUTH_BAD_REQUEST', { message: `There are two different cookies named ${config.cookieName}` })
  const [token] = tokens
  return token || undefined
}

/** A `maxAge` of 0 seconds clears the cookie. */
export function setRefreshCookie(reply: FastifyReply, config: Config, token: string, maxAge: number): void {
  reply.setCookie(config.cookieName, token, {
    httpOnly: true,
    secure: config.cookieSecure,
    sameSite: config.cookieSameSite.toLowerCase() as 'strict' | 'lax' | 'none',
    path: config.cookiePath,
    maxAge,
  })
}
