/** Every refusal on its way out: one shape, whoever refused. */
import { randomUUID } from 'node:crypto'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import Type from 'typebox'
import { AuthError, type AuthErrorCode, ERRORS } from '../models/types.ts'
import { clientOf } from './client.ts'
import { logOf } from './events.ts'
import { headersFor } from './headers.ts'

/** What the framework may answer besides 400 for a bad request. */
const FRAMEWORK_STATUSES = [404, 405, 413, 415]
/** Errors of the framework whose message is clear and quotes nothing of the request but its media type. */
const CLEAR_MESSAGES = /^(FST_ERR_VALIDATION|FST_ERR_CTP_.*|ROUTE_REFUSED)$/
const ErrorCode = Type.Unsafe<string>({ type: 'string', enum: Object.keys(ERRORS) })
const ErrorAnswer = Type.Object({ error: Type.Object({ code: ErrorCode, message: Type.String() }) })
/** For the schemas of all routes, as every one of them may refuse. */
export const REFUSALS = { '4xx': ErrorAnswer, '5xx': ErrorAnswer }

/** What the client is told. */
export function explain(error: unknown): { status: number; code: AuthErrorCode; message: string } {
  if (error instanceof AuthError) return { ...ERRORS[error.code], code: error.code, message: error.message }
  const { statusCode = 500, code, message } = error as FastifyError
  if (statusCode >= 500) return { ...ERRORS.AUTH_INTERNAL, code: 'AUTH_INTERNAL' }
  return {
    status: FRAMEWORK_STATUSES.includes(statusCode) ? statusCode : 400,
    code: 'AUTH_BAD_REQUEST',
    message: CLEAR_MESSAGES.test(code) ? message : ERRORS.AUTH_BAD_REQUEST.message,
  }
}

/** Answers in the contract's shape, and tells the log of what is not the client's own doing. */
export function answerError(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const { status, code, message } = explain(error)
  const { retryAfterSeconds, limit } = error instanceof AuthError ? error : {}
  if (code === 'AUTH_INTERNAL') logOf(request).error(error, code)
  if (code === 'AUTH_UNAVAILABLE') logOf(request).debug(error, code) // by those who meet it; the outage is one event
  if (code === 'AUTH_RATE_LIMIT') {
    const client = clientOf(request)
    client.tell('auth.limited', { limit, network: client.network })
  }
  if (retryAfterSeconds) reply.header('retry-after', retryAfterSeconds)
  if (!request.raw.complete) keepOpen(reply)
  return reply.code(status).headers(headersFor(request.id)).send({ error: { code, message } })
}

/** Fastify would close while too long a body still arrives, and lose the answer. A server that stops still does. */
function keepOpen(reply: FastifyReply): void {
  const asked = reply.raw.getHeader('connection')
  reply.removeHeader('connection')
  if (asked) reply.raw.setHeader('connection', asked)
}

/** A whole answer, as bytes on the wire, to what cannot be read as a request. */
export function unreadableAnswer(): string {
  const { status, message } = ERRORS.AUTH_BAD_REQUEST
  const body = JSON.stringify({ error: { code: 'AUTH_BAD_REQUEST', message } })
  const headers = {
    ...headersFor(randomUUID()),
    'content-type': 'application/json; charset=utf-8',
    'content-length': body.length,
    connection: 'close',
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
  return [`HTTP/1.1 ${status} Bad Request`, ...lines, '', body].join('\r\n')
}
