/** A Host that is there twice, is missing or is none, so that a proxy and the module take it for different ones. */
import { refuseBytes, type Target } from '../support/hostile.ts'

export default function attack(target: Target): void {
  const withHosts = (...hosts: string[]) =>
    `GET /auth/me HTTP/1.1\r\n${hosts.map((host) => `Host: ${host}\r\n`).join('')}Connection: close\r\n\r\n`
  refuseBytes(target, 400, {
    'two Hosts': withHosts('a', 'b'),
    'the same Host twice': withHosts('a', 'a'),
    'two Hosts in HTTP/1.0': 'GET /auth/me HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n',
    'no Host in HTTP/1.1': withHosts(),
  })
  for (const host of ['', 'a b', 'ada@a', 'a/b', 'a:b', 'a:80:80', '[::1', '::1', 'http://a', 'a?b'])
    refuseBytes(target, 400, { [`the Host "${host}"`]: withHosts(host) })
}
