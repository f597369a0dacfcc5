/** What is no HTTP: answered once at most, and closed, though the client keeps its side open. */
import { refuseBytes, type Target } from '../support/hostile.ts'

export default function attack(target: Target): void {
  refuseBytes(target, 400, {
    'the beginning of a TLS handshake': Buffer.from('16030100c8010000c40303', 'hex'),
    words: 'hello there\r\n\r\n',
    'words without end': 'hello there\r\n\r\n'.repeat(20_000),
    'NUL bytes': Buffer.alloc(64),
    'the preface of HTTP/2': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'a version that there is not': 'GET /auth/me HTTP/9.9\r\nHost: a\r\n\r\n',
    'a header without a name': target.head('GET /auth/me HTTP/1.1', 'Connection: close', ': b'),
    'a NUL in a header': target.head('GET /auth/me HTTP/1.1', 'Connection: close', 'X: a\0b'),
    'a bare carriage return in a header': target.head('GET /auth/me HTTP/1.1', 'Connection: close', 'X: a\rY: b'),
    'an expectation that nobody knows': target.head(
      'POST /auth/login HTTP/1.1',
      'Connection: close',
      'Content-Type: application/json',
      'Content-Length: 2',
      'Expect: a',
    ),
  })
}
