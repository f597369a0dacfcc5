/** Node's own HTTP server and nothing else, for what it spends on bytes that are no request. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

const server = createServer().listen(0, '127.0.0.1', () => {
  console.log(`The bare server listens on http://127.0.0.1:${(server.address() as AddressInfo).port}`)
})
