/** The verifier against the real module, which has the last word on what is a good token. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { logInSomebody, me } from '../../../test/support/server.ts'
import { createVerifier } from '../src/index.ts'
import { issue } from './support/issuer.ts'
import { startModule } from './support/module.ts'

for (const AUTH_SIGNING_ALG of ['ES256', 'RS256'])
  for (const AUTH_JWE_ALG of ['ECDH-ES+A256KW', 'RSA-OAEP-256'])
    test(`a token of the module verifies, signed with ${AUTH_SIGNING_ALG} and encrypted with ${AUTH_JWE_ALG}`, async () => {
      const { server, options, enc } = await startModule({ AUTH_SIGNING_ALG, AUTH_JWE_ALG })
      const { access_token: token } = await logInSomebody(server)
      const user = await me(server, token)

      const fromFolder = await createVerifier(options).verify(token)
      assert.deepEqual(Object.keys(fromFolder).sort(), ['aud', 'exp', 'iat', 'iss', 'jti', 'sid', 'sub'])
      assert.equal(fromFolder.sub, user.body.id)
      assert.equal(fromFolder.exp, fromFolder.iat + 900)

      const { keysDir: _, ...others } = options
      const fromMemory = await createVerifier({ ...others, decryptionKeys: [enc.privateJwk] }).verify(token)
      assert.deepEqual(fromMemory, fromFolder)
    })

test('the claims cannot be changed, since one object answers every request with that token', async () => {
  const { options, sig, enc } = await startModule()
  const verifier = createVerifier(options)
  const token = await issue(sig, enc, { claims: { roles: ['reader'] } })
  const claims = await verifier.verify(token)

  assert.throws(() => Object.assign(claims, { sub: 'somebody else' }), TypeError)
  assert.throws(() => (claims.roles as string[]).push('admin'), TypeError)
  assert.equal(await verifier.verify(token), claims)
})
