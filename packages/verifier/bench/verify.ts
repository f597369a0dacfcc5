/**
 * How quickly tokens verify: new ones against jose's own decrypting and verifying, called bare, and ones seen before.
 * One call after the other. The two sides of the comparison take turns on each token, so that whatever else the machine
 * does slows both, and the median counts.
 */
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { CompactEncrypt, compactDecrypt, exportJWK, generateKeyPair, jwtVerify, SignJWT } from 'jose'
import { createVerifier } from '../src/index.ts'

const ALGORITHMS = [
  ['ES256', 'ECDH-ES+A256KW'],
  ['ES256', 'RSA-OAEP-256'],
  ['RS256', 'RSA-OAEP-256'],
] as const
const ROUNDS = 10
const TOKENS = 500
const SEEN_CALLS = 20_000
const WANTED_RATIO = 0.9
const WANTED_SEEN_A_SECOND = 200_000

const issuer = 'auth-mvp'
const audience = 'auth-mvp-clients'

for (const [signingAlg, encryptionAlg] of ALGORITHMS) {
  const signing = await generateKeyPair(signingAlg, { modulusLength: 3072 })
  const encryption = await generateKeyPair(encryptionAlg, { modulusLength: 3072, extractable: true })
  const jwks = JSON.stringify({
    keys: [{ ...(await exportJWK(signing.publicKey)), kid: 'sig', use: 'sig', alg: signingAlg }],
  })
  const decryptionKeys = [{ ...(await exportJWK(encryption.privateKey)), kid: 'enc', use: 'enc', alg: encryptionAlg }]
  const server = createServer((_request, response) => response.end(jwks)).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const jwksUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`

  async function issue(): Promise<string> {
    const iat = Math.floor(Date.now() / 1000)
    const copied = { iss: issuer, aud: audience, iat, exp: iat + 900, jti: randomUUID() }
    const jws = await new SignJWT({ sub: randomUUID(), sid: randomUUID(), ...copied })
      .setProtectedHeader({ alg: signingAlg, typ: 'at+jwt', kid: 'sig' })
      .sign(signing.privateKey)
    return new CompactEncrypt(Buffer.from(jws))
      .setProtectedHeader({ alg: encryptionAlg, enc: 'A256GCM', cty: 'JWT', kid: 'enc', ...copied })
      .encrypt(encryption.publicKey)
  }

  async function verifyBare(token: string): Promise<unknown> {
    const { plaintext } = await compactDecrypt(token, encryption.privateKey)
    return jwtVerify(plaintext, signing.publicKey, { issuer, audience })
  }

  const tokens = await Promise.all(Array.from({ length: TOKENS }, issue))
  const bareMs: number[] = []
  const newMs: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    // A verifier that has met none of the tokens, with its keys at hand.
    const verifier = createVerifier({ issuer, audience, jwksUrl, decryptionKeys })
    await verifier.verify(await issue())
    for (const [index, token] of tokens.entries()) {
      const isBareFirst = (index + round) % 2 === 0
      if (isBareFirst) bareMs.push(await duration(() => verifyBare(token)))
      newMs.push(await duration(() => verifier.verify(token)))
      if (!isBareFirst) bareMs.push(await duration(() => verifyBare(token)))
    }
  }

  const verifier = createVerifier({ issuer, audience, jwksUrl, decryptionKeys })
  for (const token of tokens) await verifier.verify(token)
  const seenMs: number[] = []
  for (let round = 0; round < ROUNDS * 10; round++)
    seenMs.push(
      await duration(async () => {
        for (let call = 0; call < SEEN_CALLS; call++) await verifier.verify(tokens[call % TOKENS] as string)
      }),
    )

  const bareRate = 1000 / median(bareMs)
  const newRate = 1000 / median(newMs)
  const seenRate = (SEEN_CALLS * 1000) / median(seenMs)
  const ratio = newRate / bareRate
  console.log(`${signingAlg} in ${encryptionAlg}, tokens of ${tokens[0]?.length} characters`)
  console.log(`  jose, bare    ${aSecond(bareRate)}`)
  console.log(`  new token     ${aSecond(newRate)}, ${ratio.toFixed(2)} of that`)
  console.log(`  seen before   ${aSecond(seenRate)}`)
  if (ratio < WANTED_RATIO || seenRate < WANTED_SEEN_A_SECOND) process.exitCode = 1
  server.close()
  server.closeAllConnections()
}
if (process.exitCode) console.log(`Wanted: ${WANTED_RATIO} of jose, and ${WANTED_SEEN_A_SECOND} a second`)

async function duration(run: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await run()
  return performance.now() - start
}

function median(values: number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] as number
}

function aSecond(rate: number): string {
  return `${Math.round(rate).toLocaleString('en')} a second`
}
