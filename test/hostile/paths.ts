/** Paths that a proxy and the module may take for different ones. */
import { refuseBytes, type Target } from '../support/hostile.ts'

export default function attack(target: Target): void {
  const get = (path: string) => target.head(`GET ${path} HTTP/1.1`, 'Connection: close')
  for (const path of [
    '//auth/me',
    '/auth//me',
    '/auth/me/',
    '/auth/./me',
    '/auth/login/../me',
    '/auth/..%2fauth/me',
    '/auth/%2e%2e/auth/me',
    '/Auth/Me',
    '/auth/me%20',
    '/auth/me;a=b',
    '/auth/me.json',
    '/auth\\me',
    '/auth/me%00',
    '/auth/me%0d%0aX-Injected:%20a',
    '/.env',
    '/..%2f..%2f..%2fetc/passwd',
    '/__proto__',
    '/constructor',
    '/health',
    '/metrics',
  ])
    refuseBytes(target, 404, { [path]: get(path) })
  refuseBytes(target, 404, { 'an asterisk': target.head('OPTIONS * HTTP/1.1', 'Connection: close') })
  refuseBytes(target, 400, {
    'a path that cannot be decoded': get('/auth/%zz'),
    'a path that is not UTF-8': get('/%ff'),
    'a path with a space in it': get('/auth/me HTTP/1.1 a'),
  })
}
