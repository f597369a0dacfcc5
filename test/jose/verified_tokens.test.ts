import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { suite, test } from 'node:test'
import { loadConfig } from '../../src/config.ts'
import { createVerifiedTokens } from '../../src/jose/verified_tokens.ts'
import { issueAccessToken } from '../../src/utils/crypto.ts'
import type { KeyStore } from '../../src/utils/jwks.ts'
import { openStore } from '../support/keys.ts'
import { startServer } from '../support/server.ts'

suite('a token that was verified before', async () => {
  const server = await startServer()
  const config = loadConfig(server.env)
  const store = await openStore(server)
  const issue = () =>
    issueAccessToken(
      store,
      config,
      { id: randomUUID(), user_id: randomUUID(), expires_in_seconds: 1, ends_in_seconds: 1 },
      900,
    )

  test('is not verified again, and another one is', async () => {
    const verified = createVerifiedTokens(store, config)
    const token = await issue()
    const first = await verified.verify(token)
    assert.equal(await verified.verify(token), first)
    assert.notEqual((await verified.verify(await issue())).sid, first.sid)
  })

  test('is forgotten when so many others have come, and then verified anew', async () => {
    const verified = createVerifiedTokens(store, config, 2)
    const token = await issue()
    const first = await verified.verify(token)
    await verified.verify(await issue())
    await verified.verify(await issue())
    const again = await verified.verify(token)
    assert.notEqual(again, first)
    assert.deepEqual(again, first)
  })

  test('has one spelling, so that nobody fills the memory with others of it', async () => {
    const verified = createVerifiedTokens(store, config)
    const token = await issue()
    for (const other of [`${token}=`, `${token}==`, token.replace('.', '.\t'), ` ${token}`, `${token}\n`])
      await assert.rejects(verified.verify(other), { code: 'AUTH_TOKEN_INVALID' })
  })

  test('is refused past its exp and the leeway, at the very second', async ({ mock }) => {
    const verified = createVerifiedTokens(store, config)
    const token = await issue()
    const { exp } = await verified.verify(token)
    mock.timers.enable({ apis: ['Date'], now: (exp + config.clockSkewSeconds) * 1000 - 1 })
    await verified.verify(token)
    mock.timers.setTime((exp + config.clockSkewSeconds) * 1000)
    await assert.rejects(verified.verify(token), { code: 'AUTH_TOKEN_EXPIRED' })
  })

  for (const use of ['sig', 'enc'])
    test(`is refused when its ${use} key is no longer accepted`, async () => {
      let isGone = false
      const keys: KeyStore = {
        ...store,
        find: async (wanted, kid) => (isGone && wanted === use ? undefined : store.find(wanted, kid)),
      }
      const verified = createVerifiedTokens(keys, config)
      const token = await issue()
      await verified.verify(token)
      isGone = true
      await assert.rejects(verified.verify(token), { code: 'AUTH_TOKEN_INVALID' })
    })

  test('is not taken for one that differs in a single character', async () => {
    const verified = createVerifiedTokens(store, config)
    const token = await issue()
    await verified.verify(token)
    // Not the last one: of its bits four count for nothing.
    const forged = `${token.slice(0, -2)}${token.at(-2) === 'A' ? 'B' : 'A'}${token.at(-1)}`
    await assert.rejects(verified.verify(forged), { code: 'AUTH_TOKEN_INVALID' })
  })
})
