/** An issuer whose keys the tests hold, to forge whatever a stranger, or a bug, might send. */
import { randomUUID } from 'node:crypto'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after } from 'node:test'
import {
  CompactEncrypt,
  CompactSign,
  type CryptoKey,
  calculateJwkThumbprint,
  exportJWK,
  generateKeyPair,
  type JWK,
} from 'jose'

export const ISSUER = 'auth-mvp'
export const AUDIENCE = 'auth-mvp-clients'

export interface TestKey {
  kid: string
  alg: string
  privateKey: CryptoKey
  publicKey: CryptoKey
  privateJwk: JWK
  publicJwk: JWK
}

/** Members that are undefined are left out of the token. */
export interface Changes {
  claims?: Record<string, unknown>
  innerHeader?: Record<string, unknown>
  outerHeader?: Record<string, unknown>
  signWith?: CryptoKey | Uint8Array
  encryptTo?: CryptoKey | Uint8Array
  /** What to encrypt in the place of the JWS. */
  replaceJws?: (jws: string) => string | Promise<string>
}

export async function newKey(use: string, alg: string): Promise<TestKey> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true, modulusLength: 2048 })
  const publicMembers = await exportJWK(publicKey)
  const kid = await calculateJwkThumbprint(publicMembers)
  const privateJwk = { ...(await exportJWK(privateKey)), kid, use, alg }
  return { kid, alg, privateKey, publicKey, privateJwk, publicJwk: { ...publicMembers, kid, use, alg } }
}

/** A good token of fifteen minutes, but for the changes. */
export async function issue(signing: TestKey, encryption: TestKey, changes: Changes = {}): Promise<string> {
  const nowSeconds = Math.floor(Date.now() / 1000)
  const ids = { sub: randomUUID(), sid: randomUUID(), jti: randomUUID() }
  const times = { iat: nowSeconds, exp: nowSeconds + 900 }
  const claims: Record<string, unknown> = { ...ids, iss: ISSUER, aud: AUDIENCE, ...times, ...changes.claims }
  const jws = await new CompactSign(Buffer.from(JSON.stringify(claims)))
    .setProtectedHeader({ alg: signing.alg, typ: 'at+jwt', kid: signing.kid, ...changes.innerHeader })
    .sign(changes.signWith ?? signing.privateKey, { crit: { strange: true } })

  const { iss, aud, iat, exp, jti } = claims
  const copied = { iss, aud, iat, exp, jti }
  return new CompactEncrypt(Buffer.from((await changes.replaceJws?.(jws)) ?? jws))
    .setProtectedHeader({
      ...{ alg: encryption.alg, enc: 'A256GCM', cty: 'JWT', kid: encryption.kid, ...copied },
      ...changes.outerHeader,
    })
    .encrypt(changes.encryptTo ?? encryption.publicKey, { crit: { strange: true } })
}

export interface JwksEndpoint {
  url: string
  /** What it publishes; to be reassigned. */
  keys: TestKey[]
  /** How many times it was asked. */
  requests: number
  /** Answers itself, instead of publishing the keys. */
  misbehave: ((response: ServerResponse) => void) | undefined
  stop(): Promise<void>
  /** On the same port again. */
  start(): Promise<void>
}

/** Closed when the test file ends. */
export async function startJwksEndpoint(...keys: TestKey[]): Promise<JwksEndpoint> {
  let server: Server | undefined
  let port = 0
  const endpoint: JwksEndpoint = {
    url: '',
    keys,
    requests: 0,
    misbehave: undefined,
    async start() {
      server = createServer((_request, response) => {
        endpoint.requests++
        if (endpoint.misbehave) return endpoint.misbehave(response)
        response.end(JSON.stringify({ keys: endpoint.keys.map((key) => key.publicJwk) }))
      })
      await new Promise<void>((resolve) => server?.listen(port, '127.0.0.1', resolve))
      port = (server.address() as AddressInfo).port
      endpoint.url = `http://127.0.0.1:${port}/jwks.json`
    },
    async stop() {
      const closed = new Promise((resolve) => (server?.listening ? server.close(resolve) : resolve(undefined)))
      server?.closeAllConnections()
      await closed
    },
  }
  await endpoint.start()
  after(() => endpoint.stop())
  return endpoint
}
