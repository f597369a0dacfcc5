/** The verifier against the real module, which has the last word on what is a good token. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { logInSomebody, me } from '../../../test/support/server.ts'
import { createVerifier } from '../src/index.ts'
import { issue } from './support/issuer.ts'
import { startModule } from './support/module.ts'

const COMBINATIONS = ['ES256', 'RS256'].flatMap((sig) => ['ECDH-ES+A256KW', 'RSA-OAEP-256'].map((enc) => [sig, enc]))
for (const [AUTH_SIGNING_ALG = '', AUTH_JWE_ALG = ''] of COMBINATIONS)
  test(`a token of the module verifies, signed with ${AUTH_SIGNING_ALG}, encrypted with ${AUTH_JWE_ALG}`, async () => {
    const { server, options, keysFile } = await startModule({ AUTH_SIGNING_ALG, AUTH_JWE_ALG })
    const { access_token: token } = await logInSomebody(server)
    const user = await me(server, token)

    const byFile = await createVerifier({ keysFile }).verify(token)
    const { claims } = byFile
    assert.deepEqual(Object.keys(claims ?? {}).sort(), ['aud', 'exp', 'iat', 'iss', 'jti', 'sid', 'sub'])
    assert.equal(claims?.exp, Number(claims?.iat) + 900)
    const { sid: sessionId, jti: tokenId, exp: expiresAt } = claims ?? {}
    assert.deepEqual(byFile, { userId: user.body.id, sessionId, tokenId, expiresAt, claims })

    assert.deepEqual(await createVerifier(options).verify(token), byFile)
  })

test('what it answers cannot be changed, since one object answers every request with that token', async () => {
  const { options, sig, enc } = await startModule()
  const verifier = createVerifier(options)
  const token = await issue(sig, enc, { claims: { roles: ['reader'] } })
  const auth = await verifier.verify(token)

  assert.throws(() => Object.assign(auth, { userId: 'somebody else' }), TypeError)
  assert.throws(() => Object.assign(auth.claims ?? {}, { sub: 'somebody else' }), TypeError)
  const roles = auth.claims?.roles as string[]
  assert.throws(() => roles.push('admin'), TypeError)
  assert.equal(await verifier.verify(token), auth)
})
