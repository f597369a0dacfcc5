/** Origins of web pages (RFC 6454): which may read our answers, and which may have a browser send the cookie along. */
import type { FastifyRequest } from 'fastify'
import type { Config } from '../config.ts'
import { AuthError } from '../models/types.ts'
import { clientOf } from './client.ts'

const ORIGIN_FORM = /^[a-z][a-z\d+.-]*:\/\/[^/?#@\s]+$/i
const LOGGED_MAX_CHARACTERS = 200

/**
 * RFC 6454, section 4: scheme, host and port, without regard to case and to a port that is the scheme's own.
 * @returns undefined for what is no such triple, like `null`
 */
function canonicalOrigin(text: string): string | undefined {
  if (!ORIGIN_FORM.test(text) || !URL.canParse(text)) return undefined
  const { protocol, host } = new URL(text)
  return `${protocol}//${host}`.toLowerCase()
}

function isSameOrigin(one: string, other: string): boolean {
  const canonical = canonicalOrigin(one)
  return canonical !== undefined && canonical === canonicalOrigin(other)
}

/** Whether AUTH_CORS_ORIGINS names it. */
export function isListedOrigin(origin: string, config: Config): boolean {
  return config.corsOrigins.some((listed) => isSameOrigin(origin, listed))
}

/**
 * For requests that a browser gives its cookie to, or takes one from.
 * @throws {AuthError} AUTH_FORBIDDEN when a page had the browser send it that is neither our own nor listed
 */
export function refuseForeignOrigin(request: FastifyRequest, config: Config): void {
  const { origin, 'sec-fetch-site': site } = request.headers
  const own = `${request.protocol}://${request.host}`
  const isForeign =
    origin === undefined ? site === 'cross-site' : !isSameOrigin(origin, own) && !isListedOrigin(origin, config)
  if (!isForeign) return
  clientOf(request).tell('auth.origin_refused', {
    origin_seen: (origin ?? `none, but Sec-Fetch-Site: ${site}`).slice(0, LOGGED_MAX_CHARACTERS),
    origin_expected: [own, ...config.corsOrigins].join(' ').slice(0, LOGGED_MAX_CHARACTERS),
  })
  throw new AuthError('AUTH_FORBIDDEN')
}
