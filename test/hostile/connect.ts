/** CONNECT, as if the module were a proxy: refused at once, though the client keeps its side open. */
import { refuseBytes, type Target } from '../support/hostile.ts'

export default function attack(target: Target): void {
  refuseBytes(target, 400, {
    'to another host': 'CONNECT example.invalid:443 HTTP/1.1\r\nHost: example.invalid:443\r\n\r\n',
    'to a port of the same machine': 'CONNECT 127.0.0.1:5432 HTTP/1.1\r\nHost: 127.0.0.1:5432\r\n\r\n',
    'with a handshake after it': `CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n${'\x16\x03'.repeat(9000)}`,
  })
}
