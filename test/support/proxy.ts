/** A proxy between the module and its database, that delays or swallows what passes. */
import { connect, createServer, type Socket } from 'node:net'
import { after } from 'node:test'

export async function startProxy(url: string, { delayMs = 0 } = {}) {
  const { hostname, port } = new URL(url)
  const sockets = new Set<Socket>()
  const clients = new Map<Socket, Socket>()
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname)
    clients.set(client, upstream)
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from)
      from.on('error', () => to.destroy())
      from.on('close', () => clients.has(client) && to.destroy())
      from.on('data', (chunk) => setTimeout(() => to.writable && to.write(chunk), delayMs))
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  after(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  const address = server.address()
  const proxied = new URL(url)
  proxied.port = String(typeof address === 'object' && address ? address.port : 0)
  return {
    url: proxied.href,
    /** Cuts all connections off as if the cable were cut: the module is told nothing, and gets nothing any more. */
    loseConnections(): void {
      const lost = [...clients.values()]
      clients.clear()
      for (const upstream of lost) upstream.destroy()
    },
  }
}
