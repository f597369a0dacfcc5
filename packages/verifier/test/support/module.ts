/** The real module as the issuer, and the keys of its folder. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type CryptoKey, importJWK, type JWK } from 'jose'
import { type Environment, type Server, startServer } from '../../../../test/support/server.ts'
import { AUDIENCE, ISSUER, type TestKey } from './issuer.ts'

export interface Module {
  server: Server
  /** What a verifier of its tokens needs. */
  options: { issuer: string; audience: string; jwksUrl: string; keysDir: string }
  sig: TestKey
  enc: TestKey
  encFront: TestKey
}

export async function startModule(env: Environment = {}): Promise<Module> {
  const server = await startServer(env)
  const keysDir = server.env.AUTH_KEYS_DIR as string
  const jwks: JWK[] = await Promise.all(
    (await readdir(keysDir)).map(async (name) => JSON.parse(await readFile(join(keysDir, name), 'utf8'))),
  )
  const keyFor = async (use: string, alg: string): Promise<TestKey> => {
    const privateJwk = jwks.find((jwk) => jwk.use === use && jwk.alg === alg) as JWK
    const { kty, crv, x, y, n, e, kid = '' } = privateJwk
    const publicJwk = { kid, use, alg, kty, ...(kty === 'EC' ? { crv, x, y } : { n, e }) } as JWK
    const privateKey = (await importJWK(privateJwk)) as CryptoKey
    const publicKey = (await importJWK(publicJwk)) as CryptoKey
    return { kid, alg, privateKey, publicKey, privateJwk, publicJwk }
  }
  return {
    server,
    options: { issuer: ISSUER, audience: AUDIENCE, jwksUrl: `${server.url}/.well-known/jwks.json`, keysDir },
    sig: await keyFor('sig', env.AUTH_SIGNING_ALG ?? 'ES256'),
    enc: await keyFor('enc', env.AUTH_JWE_ALG ?? 'ECDH-ES+A256KW'),
    encFront: await keyFor('enc_front', 'RSA-OAEP-256'),
  }
}
