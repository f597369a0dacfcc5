/** The five endpoints under /auth: what goes over the wire, and nothing else. */
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import Type from 'typebox'
import { clientOf } from '../http/client.ts'
import { readRefreshCookie, setRefreshCookie } from '../http/cookie.ts'
import { answerError, explain, REFUSALS } from '../http/errors.ts'
import { refuseForeignOrigin } from '../http/origin.ts'
import { AuthError, type Tokens } from '../models/types.ts'
import * as service from '../service/auth.ts'

const CredentialsBody = Type.Union([
  Type.Object({ email: Type.String(), password: Type.String() }),
  Type.Object({
    __front_enc__: Type.Unknown({ description: 'front_enc in the contract: an object, or a compact JWE' }),
  }),
])
const RefreshTokenBody = Type.Union([Type.Object({ refresh_token: Type.Optional(Type.String()) }), Type.Null()])
const RefreshHeaders = Type.Object({ 'idempotency-key': Type.Optional(Type.String({ pattern: '^[!-~]{16,128}$' })) })
const UserAnswer = Type.Object({ id: Type.String(), email: Type.String(), email_verified: Type.Boolean() })
const TokensAnswer = Type.Object({
  access_token: Type.String(),
  refresh_token: Type.Optional(Type.String()),
  token_type: Type.Literal('Bearer'),
  expires_in: Type.Integer({ description: 'seconds' }),
})

const registerSchema = { body: CredentialsBody, response: { 201: UserAnswer, ...REFUSALS } }
const loginSchema = { body: CredentialsBody, response: { 200: TokensAnswer, ...REFUSALS } }
const refreshSchema = { body: RefreshTokenBody, headers: RefreshHeaders, response: { 200: TokensAnswer, ...REFUSALS } }
const logoutSchema = { body: RefreshTokenBody, response: { 204: Type.Null(), ...REFUSALS } }
const meSchema = { security: [{ accessToken: [] }], response: { 200: UserAnswer, ...REFUSALS } }

export function registerAuthRoutes(server: FastifyInstance, context: service.AuthContext): void {
  const app = server.withTypeProvider<TypeBoxTypeProvider>()
  const { config, limits } = context
  const inCookies = config.refreshTransport === 'cookie'
  const refuseBlocked = (request: FastifyRequest) => limits.refuseBlocked(clientOf(request))
  const refuseForeign = async (request: FastifyRequest) => {
    if (inCookies) refuseForeignOrigin(request, config)
  }

  app.post('/auth/register', { onRequest: refuseBlocked, schema: registerSchema }, async (request, reply) => {
    const user = await service.register(context, request.body, clientOf(request))
    return reply.code(201).send(user)
  })

  const loginOptions = { onRequest: [refuseForeign, refuseBlocked], schema: loginSchema }
  app.post('/auth/login', loginOptions, async (request, reply) => {
    const tokens = await service.login(context, request.body, clientOf(request))
    return tokensAnswer(reply, tokens, { inCookie: inCookies, inBody: !inCookies })
  })

  const refreshOptions = { errorHandler: answerAndClearCookie, schema: refreshSchema }
  app.post('/auth/token/refresh', refreshOptions, async (request, reply) => {
    const presented = presentedToken(request, request.body?.refresh_token)
    const key = request.headers['idempotency-key']
    const tokens = await service.refresh(context, presented.token, key, clientOf(request))
    return tokensAnswer(reply, tokens, presented)
  })

  const logoutOptions = { errorHandler: answerAndClearCookie, schema: logoutSchema }
  app.post('/auth/logout', logoutOptions, async (request, reply) => {
    const presented = presentedToken(request, request.body?.refresh_token)
    await service.logout(context, presented.token, clientOf(request))
    if (inCookies) setRefreshCookie(reply, config, '', 0)
    return reply.code(204).send(null)
  })

  app.get('/auth/me', { errorHandler: answerWithChallenge, schema: meSchema }, (request) =>
    service.me(context, bearerToken(request)),
  )

  /** The next token goes back the way this one came. */
  function presentedToken(request: FastifyRequest, inBody: string | undefined) {
    const inCookie = readRefreshCookie(request, config)
    if (inCookie !== undefined) refuseForeignOrigin(request, config)
    if (inBody !== undefined && inCookie !== undefined && inBody !== inCookie)
      throw new AuthError('AUTH_BAD_REQUEST', { message: 'refresh_token differs between the body and the cookie' })
    return { token: inBody ?? inCookie, inBody: inBody !== undefined, inCookie: inCookie !== undefined }
  }

  /** What is worth nothing any more, the browser need not keep. */
  function answerAndClearCookie(error: Error, request: FastifyRequest, reply: FastifyReply) {
    if (explain(error).status === 401 && readRefreshCookie(request, config)) setRefreshCookie(reply, config, '', 0)
    return answerError(error, request, reply)
  }

  function tokensAnswer(reply: FastifyReply, tokens: Tokens, way: { inBody: boolean; inCookie: boolean }) {
    if (way.inCookie) setRefreshCookie(reply, config, tokens.refreshToken, tokens.refreshExpiresInSeconds)
    return {
      access_token: tokens.accessToken,
      ...(way.inBody && { refresh_token: tokens.refreshToken }),
      token_type: 'Bearer' as const,
      expires_in: tokens.accessExpiresInSeconds,
    }
  }
}

/** RFC 6750, section 2.1. */
function bearerToken(request: FastifyRequest): string | undefined {
  return request.headers.authorization?.match(/^Bearer +([^ ]+)$/i)?.[1]
}

/** RFC 6750, section 3: what was wrong with the token, or, when there was none, only that one is wanted. */
function answerWithChallenge(error: Error, request: FastifyRequest, reply: FastifyReply) {
  const { status, message } = explain(error)
  const reason = bearerToken(request) ? `, error="invalid_token", error_description="${message}"` : ''
  if (status === 401) reply.header('www-authenticate', `Bearer realm="auth"${reason}`)
  return answerError(error, request, reply)
}
