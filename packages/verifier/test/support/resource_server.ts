/** A server of somebody else, run as a program of its own: all that it has of the issuer is the path of a file. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createVerifier } from '../../src/index.ts'
import { requireToken } from '../../src/node.ts'

const keysFile = process.argv[2] as string
const verifier = createVerifier({ keysFile, onKeyFailure: (error) => console.error(error) })
await verifier.ready()
const server = createServer(async (request, response) => {
  const auth = await requireToken(verifier, request, response)
  if (auth) response.end(auth.userId)
}).listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`))
