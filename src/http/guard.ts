/** What stands at the door: security headers, CORS, the cookie and its origin rule, the client's address. */
import { isUtf8 } from 'node:buffer'
import { isIP } from 'node:net'
import cookie from '@fastify/cookie'
import cors from '@fastify/cors'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import ipaddr from 'ipaddr.js'
import type { Config } from '../config.ts'
import { AuthError, type Client } from '../models/types.ts'

export const SECURITY_HEADERS = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cache-control': 'no-store',
}
const COOKIE_NAME = 'refresh_token'
const NOT_JSON = '{'

export async function registerGuard(app: FastifyInstance, config: Config): Promise<void> {
  app.addHook('onRequest', (_request, reply, done) => {
    reply.headers(SECURITY_HEADERS)
    done()
  })
  // JSON and nothing else. What is not UTF-8 (RFC 8259, section 8.1) must not pass: it would make passwords equal.
  const parseJson = app.getDefaultJsonParser('remove', 'remove')
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body: Buffer, done) =>
    body.length === 0 ? done(null, null) : parseJson(request, isUtf8(body) ? body.toString() : NOT_JSON, done),
  )
  if (config.corsOrigins.length > 0)
    await app.register(cors, {
      origin: config.corsOrigins,
      credentials: true,
      methods: ['GET', 'POST', 'OPTIONS'],
      allowedHeaders: ['Authorization', 'Content-Type', 'Idempotency-Key'],
      exposedHeaders: ['Retry-After'],
      strictPreflight: false,
    })
  await app.register(cookie)
}

/** The socket's peer, or whom a trusted proxy names. */
export function clientOf(request: FastifyRequest): Client {
  const named = [request.ip, request.socket.remoteAddress].find((text) => text !== undefined && isIP(text))
  const address = ipaddr.process((named ?? '0.0.0.0').split('%')[0] as string)
  return {
    ip: address.toString(),
    network: networkOf(address, 64),
    wideNetwork: networkOf(address, 48),
    userAgent: request.headers['user-agent'],
    isGone: () => request.socket.destroyed,
  }
}

/** An IPv4 address stands for itself. */
function networkOf(address: ipaddr.IPv4 | ipaddr.IPv6, ipv6Bits: number): string {
  if (address instanceof ipaddr.IPv4) return address.toString()
  return `${ipaddr.IPv6.networkAddressFromCIDR(`${address}/${ipv6Bits}`)}/${ipv6Bits}`
}

/**
 * The refresh token in the cookie, if cookies are how refresh tokens travel, and there is one.
 * @throws {AuthError} AUTH_FORBIDDEN when a foreign page had the browser send it along
 */
export function readRefreshCookie(request: FastifyRequest, config: Config): string | undefined {
  const token = request.cookies[COOKIE_NAME]
  if (!token || config.refreshTransport !== 'cookie') return undefined
  const { origin } = request.headers
  const isForeign =
    origin === undefined
      ? request.headers['sec-fetch-site'] === 'cross-site'
      : origin !== `${request.protocol}://${request.host}` && !config.corsOrigins.includes(origin)
  if (isForeign) throw new AuthError('AUTH_FORBIDDEN')
  return token
}

/** A `maxAge` of 0 seconds clears the cookie. */
export function setRefreshCookie(reply: FastifyReply, config: Config, token: string, maxAge: number): void {
  reply.setCookie(COOKIE_NAME, token, {
    httpOnly: true,
    secure: config.cookieSecure,
    sameSite: config.cookieSameSite.toLowerCase() as 'strict' | 'lax' | 'none',
    path: '/auth',
    maxAge,
  })
}
