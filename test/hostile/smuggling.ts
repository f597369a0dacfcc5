/**
 * Requests whose end a proxy and the module may see at different places (RFC 9112, section 11.2). Each carries a second
 * one inside; that must not be answered, and the first is refused.
 */
import { refuseBytes, type Target } from '../support/hostile.ts'

export default function attack(target: Target): void {
  const hidden = target.head('GET /.well-known/jwks.json HTTP/1.1')
  const carrying = (content: string, ...headers: string[]) =>
    target.head('POST /auth/login HTTP/1.1', 'Content-Type: application/json', ...headers) + content + hidden

  refuseBytes(target, 400, {
    'a length and chunks': carrying('0\r\n\r\n', 'Content-Length: 5', 'Transfer-Encoding: chunked'),
    'chunks and a length': carrying('0\r\n\r\n', 'Transfer-Encoding: chunked', 'Content-Length: 5'),
    'two lengths that differ': carrying('{}', 'Content-Length: 2', 'Content-Length: 3'),
    'the same length twice': carrying('{}', 'Content-Length: 2', 'Content-Length: 2'),
    'a list of lengths': carrying('{}', 'Content-Length: 2, 2'),
    'a negative length': carrying('{}', 'Content-Length: -2'),
    'a length with a sign': carrying('{}', 'Content-Length: +2'),
    'a length in hexadecimal': carrying('{}', 'Content-Length: 0x2'),
    'a length beyond all numbers': carrying('{}', `Content-Length: ${'9'.repeat(40)}`),
    'a header folded over two lines': carrying('0\r\n\r\n', 'Transfer-Encoding:\r\n chunked', 'Content-Length: 5'),
    'a name with a space behind it': carrying('0\r\n\r\n', 'Transfer-Encoding : chunked', 'Content-Length: 5'),
    'a header before all that begins with a space': carrying('{}', ' Transfer-Encoding: chunked', 'Content-Length: 2'),
    'an encoding that only resembles chunks': carrying('0\r\n\r\n', 'Transfer-Encoding: xchunked'),
    'chunks that are not the last encoding': carrying('0\r\n\r\n', 'Transfer-Encoding: chunked, identity'),
    'chunks twice': carrying('0\r\n\r\n', 'Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'),
    'a chunk without a size': carrying('zz\r\n{}', 'Transfer-Encoding: chunked'),
    'a chunk longer than it says': carrying('1\r\n{}\r\n0\r\n\r\n', 'Transfer-Encoding: chunked'),
    'a chunk whose size has a sign': carrying('+2\r\n{}\r\n0\r\n\r\n', 'Transfer-Encoding: chunked'),
    'a chunk whose size has 20 digits': carrying('f'.repeat(20), 'Transfer-Encoding: chunked'),
    'chunks in HTTP/1.0': carrying('0\r\n\r\n', 'Transfer-Encoding: chunked').replace('HTTP/1.1', 'HTTP/1.0'),
    'lines that end without a carriage return': carrying(
      '0\r\n\r\n',
      'X: a\nTransfer-Encoding: chunked',
      'Content-Length: 5',
    ),
  })
}
