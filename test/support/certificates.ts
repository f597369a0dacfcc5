/** Certificates of an authority of one's own, made by openssl. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'

export interface Certificate {
  /** Paths of PEM files. */
  certificate: string
  key: string
}

export interface Authority {
  /** Path of a PEM file. */
  certificate: string
  pem: string
  /** @param name a host name, or an IP address */
  issue(name: string): Certificate
}

/** Whether a program is installed: in the path, or where Debian keeps those of root. */
export function isThere(program: string): boolean {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin']
  return folders.some((folder) => existsSync(join(folder, program)))
}

/** Its folder, which everybody may read, is removed when the test file ends. */
export function makeAuthority(): Authority {
  const folder = mkdtempSync(join(tmpdir(), 'cerrojo-authority-'))
  after(() => rmSync(folder, { recursive: true, force: true }))
  const inFolder = (name: string) => ({ certificate: join(folder, `${name}.crt`), key: join(folder, `${name}.key`) })
  const authority = inFolder('authority')

  function make(name: string, { certificate, key }: Certificate, ...words: string[]): void {
    const keyOptions = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc', '-keyout', key]
    const options = ['req', '-x509', '-days', '2', '-subj', `/CN=${name}`, '-out', certificate, ...keyOptions, ...words]
    execFileSync('openssl', options, { stdio: 'pipe' })
  }

  make('an authority', authority)
  return {
    certificate: authority.certificate,
    pem: readFileSync(authority.certificate, 'utf8'),
    issue(name) {
      const paths = inFolder(name)
      const alternative = `subjectAltName=${/^[\d.]+$/.test(name) ? 'IP' : 'DNS'}:${name}`
      const signer = ['-CA', authority.certificate, '-CAkey', authority.key]
      make(name, paths, ...signer, '-addext', alternative, '-addext', 'basicConstraints=critical,CA:FALSE')
      return paths
    },
  }
}
