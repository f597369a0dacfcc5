/** Every refusal on its way out: one shape, whoever refused. */
import type { Socket } from 'node:net'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { AuthError, type AuthErrorCode, ERRORS } from '../models/types.ts'
import { SECURITY_HEADERS } from './guard.ts'

const METHODS = ['GET', 'HEAD', 'POST'] as const
/** What the framework may answer besides 400 for a bad request. */
const FRAMEWORK_STATUSES = [404, 405, 413, 415]
/** Errors of the framework whose message is clear and quotes nothing of the request but its media type. */
const CLEAR_MESSAGES = /^(FST_ERR_VALIDATION|FST_ERR_CTP_.*|ROUTE_REFUSED)$/

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

export function answerError(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const { status, code, message } = explain(error)
  if (status >= 500) request.log.error(error, code)
  if (error instanceof AuthError && error.retryAfterSeconds) reply.header('retry-after', error.retryAfterSeconds)
  return reply.code(status).headers(SECURITY_HEADERS).send({ error: { code, message } })
}

/** Has all errors answered in the contract's shape. */
export function registerErrorAnswers(app: FastifyInstance): void {
  app.server.on('checkExpectation', app.routing) // otherwise Node answers 417 by itself

  app.setErrorHandler(answerError)

  app.addHook('onRequest', (request, reply, done) => {
    if (request.headers.host === undefined && request.raw.httpVersion === '1.1')
      return done(routeError(400, 'The Host header is missing'))
    const isPreflight = request.routeOptions.url === '*'
    if (!request.is404 && !isPreflight) return done()
    const url = request.url.split('?')[0] as string
    const allowed = METHODS.filter((method) => app.hasRoute({ method, url }))
    if (allowed.length === 0) return done(routeError(404, 'There is no such path'))
    if (isPreflight) return done()
    reply.header('allow', allowed.join(', '))
    done(routeError(405, 'The path does not take this method'))
  })
}

function routeError(statusCode: number, message: string): Error {
  return Object.assign(new Error(message), { statusCode, code: 'ROUTE_REFUSED' })
}

/** Answers what is not even HTTP; there is neither a request nor a reply then. */
export function answerUnreadable(_error: Error, socket: Socket): void {
  const { status, message } = ERRORS.AUTH_BAD_REQUEST
  const body = JSON.stringify({ error: { code: 'AUTH_BAD_REQUEST', message } })
  const headers = {
    ...SECURITY_HEADERS,
    'content-type': 'application/json; charset=utf-8',
    'content-length': body.length,
    connection: 'close',
  }
  const lines = [
    `HTTP/1.1 ${status} Bad Request`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
  ]
  if (socket.writable) socket.end(`${lines.join('\r\n')}\r\n\r\n${body}`)
}
