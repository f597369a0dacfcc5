/** The real module as the issuer, and its keys, those that decrypt in a file too. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type CryptoKey, importJWK, type JWK } from 'jose'
import { keyFor as privateKeyFor } from '../../../../test/support/keys.ts'
import { type Environment, type Server, startServer } from '../../../../test/support/server.ts'
import { AUDIENCE, ISSUER, type TestKey } from './issuer.ts'

export interface Module {
  server: Server
  /** What a verifier of its tokens needs. */
  options: { issuer: string; audience: string; jwksUrl: string; decryptionKeys: JWK[] }
  /** The same, as `cerrojo keys export` writes it. */
  keysFile: string
  sig: TestKey
  enc: TestKey
  encFront: TestKey
}

export async function startModule(env: Environment = {}): Promise<Module> {
  const server = await startServer(env)
  const keyFor = async (use: 'sig' | 'enc' | 'enc_front', alg: string): Promise<TestKey> => {
    const privateJwk = (await privateKeyFor(server.env, use, alg)) as JWK
    const { kty, crv, x, y, n, e, kid = '' } = privateJwk
    const publicJwk = { kid, use, alg, kty, ...(kty === 'EC' ? { crv, x, y } : { n, e }) } as JWK
    const privateKey = (await importJWK(privateJwk)) as CryptoKey
    const publicKey = (await importJWK(publicJwk)) as CryptoKey
    return { kid, alg, privateKey, publicKey, privateJwk, publicJwk }
  }
  const enc = await keyFor('enc', env.AUTH_JWE_ALG ?? 'ECDH-ES+A256KW')
  const options = {
    issuer: ISSUER,
    audience: AUDIENCE,
    jwksUrl: `${server.url}/.well-known/jwks.json`,
    decryptionKeys: [enc.privateJwk],
  }
  const keysFile = join(server.env.AUTH_DATA_DIR as string, 'exported.json')
  await writeFile(keysFile, JSON.stringify(options))
  return {
    server,
    options,
    keysFile,
    sig: await keyFor('sig', env.AUTH_SIGNING_ALG ?? 'ES256'),
    enc,
    encFront: await keyFor('enc_front', 'RSA-OAEP-256'),
  }
}
