/**
 * A server of somebody else that holds no key: it asks the module about each token, and so knows of logouts and emails.
 */
import { createServer, type Server } from 'node:http'
import type { Verifier } from '../packages/verifier/src/index.ts'
import { requireToken } from '../packages/verifier/src/node.ts'

export function createGreetingsServer(verifier: Pick<Verifier, 'verify'>): Server {
  return createServer(async (request, response) => {
    response.setHeader('x-content-type-options', 'nosniff')
    response.setHeader('cache-control', 'no-store')
    const auth = await requireToken(verifier, request, response)
    if (!auth) return // refused, and answered
    response.writeHead(200, { 'content-type': 'application/json; charset=utf-8' })
    response.end(JSON.stringify({ text: `Hello, ${auth.email}!` }))
  })
}
