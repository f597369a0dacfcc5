/** What every request meets at the door, in this order: headers, CORS, whether there is such a host and path, body. */
import { isUtf8 } from 'node:buffer'
import cookie from '@fastify/cookie'
import cors from '@fastify/cors'
import { errorCodes, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import type { Config } from '../config.ts'
import { answerError } from './errors.ts'
import { headersFor } from './headers.ts'
import { isListedOrigin } from './origin.ts'

const METHODS = ['GET', 'HEAD', 'POST'] as const
/** `uri-host [":" port]` (RFC 9110, section 7.2). */
const HOST_FORM = /^(\[[\da-f:.]+\]|[\w.~!$&'()*+,;=%-]+)(:\d*)?$/i
const DAY_SECONDS = 24 * 60 * 60

export async function registerGuard(app: FastifyInstance, config: Config): Promise<void> {
  app.setErrorHandler(answerError)
  app.addHook('onRequest', (request, reply, done) => {
    reply.headers(headersFor(request.id))
    done()
  })
  if (config.corsOrigins.length > 0)
    await app.register(cors, {
      origin: (origin, done) => done(null, origin !== undefined && isListedOrigin(origin, config) ? origin : []),
      credentials: true,
      methods: ['GET', 'POST', 'OPTIONS'],
      allowedHeaders: ['Authorization', 'Content-Type', 'Idempotency-Key'],
      exposedHeaders: ['Retry-After', 'Date', 'Age', 'ETag'],
      maxAge: DAY_SECONDS,
      preflightContinue: true, // to where it is known whether there is such a path
      strictPreflight: false, // it would answer in a shape of its own
    })
  await app.register(cookie, { hook: false })
  app.addHook('onRequest', refuseStray)
  takeJsonAlone(app)
}

/** Refuses what is for nobody here. The answer to a preflight is whole by now. */
async function refuseStray(request: FastifyRequest, reply: FastifyReply) {
  const { httpVersion, rawHeaders } = request.raw
  const hosts = rawHeaders.filter((text, index) => index % 2 === 0 && /^host$/i.test(text)).length
  const isHostOptional = httpVersion === '1.0' && hosts === 0
  if (!isHostOptional && (hosts !== 1 || !HOST_FORM.test(request.headers.host as string)))
    throw refusal(400, 'The Host header must be there, once, and name a host')
  const isPreflight = request.routeOptions.url === '*'
  if (!request.is404 && !isPreflight) return
  const url = request.url.split('?')[0] as string
  const allowed = METHODS.filter((method) => request.server.hasRoute({ method, url }))
  if (allowed.length === 0) throw refusal(404, 'There is no such path')
  if (isPreflight) return reply.code(204).header('content-length', '0').send() // Safari would wait for a body
  reply.header('allow', allowed.join(', '))
  throw refusal(405, 'The path does not take this method')
}

function refusal(statusCode: number, message: string): Error {
  return Object.assign(new Error(message), { statusCode, code: 'ROUTE_REFUSED' })
}

/** JSON and nothing else. What is not UTF-8 (RFC 8259, section 8.1) must not pass: it would make passwords equal. */
function takeJsonAlone(app: FastifyInstance): void {
  const parseJson = app.getDefaultJsonParser('remove', 'remove')
  app.removeAllContentTypeParsers()
  // The framework refuses a type that it cannot read before it looks for a body.
  app.addHook('onRequest', (request, _reply, done) => {
    if (request.mediaType !== 'application/json') delete request.raw.headers['content-type']
    done()
  })
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (request, body: Buffer, done) => {
    // A body of no bytes is none, whatever it says to be; libraries say all sorts of things of it.
    if (body.length === 0) return done(null, null)
    if (request.mediaType !== 'application/json') return done(new errorCodes.FST_ERR_CTP_INVALID_MEDIA_TYPE())
    if (!isUtf8(body)) return done(new errorCodes.FST_ERR_CTP_INVALID_JSON_BODY())
    return parseJson(request, body.toString(), done)
  })
}
