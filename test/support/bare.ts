/** A bare connection to a server, for what no HTTP client sends. It never closes its side by itself. */
import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { Answer } from './server.ts'

export interface BareConnection {
  socket: Socket
  send(bytes: string | Buffer): void
  /** What has come back so far. */
  received(): string
  /** When the server has closed its side, or both. */
  ended: Promise<void>
}

export async function connectTo(url: string, bytes: string | Buffer = ''): Promise<BareConnection> {
  const { hostname, port, protocol } = new URL(url)
  const isSecure = protocol === 'https:'
  const address = { port: Number(port || (isSecure ? 443 : 80)), host: hostname, allowHalfOpen: true }
  const socket = isSecure ? connectTls({ ...address, servername: hostname }) : connect(address)
  let received = ''
  socket.setEncoding('utf8').on('data', (chunk) => {
    received += chunk
  })
  socket.on('error', () => {}) // a connection that is reset ends all the same
  const ended = new Promise<void>((resolve) => socket.once('end', resolve).once('close', () => resolve()))
  await Promise.race([new Promise((resolve) => socket.once(isSecure ? 'secureConnect' : 'connect', resolve)), ended])
  const send = (more: string | Buffer) => {
    if (socket.writable && more.length > 0) socket.write(more)
  }
  send(bytes)
  return { socket, send, received: () => received, ended }
}

/** The answers in what came back, each of which must say how long it is. */
export function answersIn(text: string): Answer[] {
  const answers: Answer[] = []
  for (let rest = text; rest !== ''; ) {
    const [head = ''] = rest.split('\r\n\r\n')
    const [statusLine = '', ...lines] = head.split('\r\n')
    const headers = new Headers(lines.map((line) => line.split(/: (.*)/, 2) as [string, string]))
    const length = Number(headers.get('content-length') ?? Number.NaN)
    if (Number.isNaN(length)) throw new Error(`an answer without a length: ${text}`)
    const body = rest.slice(head.length + 4).slice(0, length)
    answers.push({
      status: Number(statusLine.split(' ')[1]),
      headers,
      body: body === '' ? undefined : JSON.parse(body),
    })
    rest = rest.slice(head.length + 4 + length)
  }
  return answers
}

/** A whole request with a JSON body, as bytes. */
export function rawPost(path: string, body: object, headers = ''): string {
  const text = JSON.stringify(body)
  const length = Buffer.byteLength(text)
  const ofBody = `Content-Type: application/json\r\nContent-Length: ${length}\r\n`
  return `POST ${path} HTTP/1.1\r\nHost: a\r\n${headers}${ofBody}\r\n${text}`
}
