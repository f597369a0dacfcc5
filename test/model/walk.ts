/** Takes the module, one statement after the other, along the lines that the model prints. */
import assert from 'node:assert/strict'
import { loadConfig } from '../../src/config.ts'
import type { Database } from '../../src/db/database.ts'
import { createPasswords } from '../../src/hashing/passwords.ts'
import { createVerifiedTokens } from '../../src/jose/verified_tokens.ts'
import { createRateLimits } from '../../src/limits/rate_limits.ts'
import { AuthError, type Client } from '../../src/models/types.ts'
import { refresh } from '../../src/service/auth.ts'
import { openKeyStore } from '../../src/utils/jwks.ts'
import { createUnanswered, type Unanswered } from '../../src/utils/tokens.ts'
import { copySessions, logInSomebody, runSql, sessionIdOf, startServer } from '../support/server.ts'

/** What a presented token leads to, in the model's words and in the log's. */
const EVENTS: Record<string, string | undefined> = {
  live: 'token.refresh.success',
  ahead: 'token.refresh.ahead',
  by_key: 'token.refresh.repeated key',
  in_grace: 'token.refresh.repeated grace',
  unanswered: 'token.refresh.repeated unanswered',
  reused: 'token.refresh.reuse_detected',
}

/** A database with the service on it, by which a walk begins with a login and does what the lines say. */
export async function openWalks() {
  const server = await startServer({ AUTH_REFRESH_GRACE_SEC: '3600' })
  const config = loadConfig(server.env)
  const { database } = server
  const log = { info() {}, warn() {}, error() {} }
  const keys = await openKeyStore(config, database, log)
  const limits = createRateLimits(config, database)
  const passwords = createPasswords(config, limits.refuseBlocked, () => {})
  const verifiedTokens = createVerifiedTokens(keys, config)
  const parts = { config, database, keys, limits, passwords, verifiedTokens }

  /** @returns what the presented tokens led to, in the model's words */
  async function walk(lines: string[]): Promise<string[]> {
    const standings: string[] = []
    const { refresh_token } = await logInSomebody(server)
    const tokens = [refresh_token] // by the model's numbers
    const nodes = [createUnanswered(), createUnanswered()]
    let pending = createUnanswered()
    let [isCopyFresh, putBack] = [true, async () => {}]
    let takeEffect = async (): Promise<unknown> => undefined
    const revokers: (() => Promise<void>)[] = []

    async function ask(unanswered: Unanswered, token: number, key: string, changes: Partial<Database>) {
      let event: string | undefined
      const client: Client = {
        ip: '127.0.0.1',
        network: '127.0.0.1',
        wideNetwork: '127.0.0.1',
        userAgent: undefined,
        isGone: () => false,
        tell: (name, { reason } = {}) => {
          event = [name, reason].filter(Boolean).join(' ')
        },
      }
      const context = { ...parts, unanswered, database: { ...database, ...changes } }
      const idempotencyKey = key === 'no_key' ? undefined : `${key}-of-the-token-${token}`
      const answer = await refresh(context, tokens[token], idempotencyKey, client).catch((error: AuthError) => error)
      return answer instanceof AuthError ? { code: answer.code, event } : { successor: answer.refreshToken, event }
    }

    function expectToken(number: number, token: string | undefined): void {
      if (tokens[number] === undefined) assert.ok(!tokens.includes(token as string))
      assert.equal(token, tokens[number] ?? token)
      tokens[number] = token as string
    }

    const letTimePass = () =>
      runSql(server.env, `update refresh_tokens set issued_at = issued_at - interval '2 hours' where id = $1`, [
        sessionIdOf(refresh_token),
      ])

    const steps: Record<string, (...values: string[]) => unknown> = {
      '(.) refreshes (.) with (\\w+) at node (.): (\\w+) (.)': async (who, token, key, node, standing, successor) => {
        standings.push(standing as string)
        const [isAtRevocation, mayRevoke] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
        let looks = 0
        const row: Database['row'] = async (texts, ...values) => {
          if (++looks === 2) isAtRevocation.resolve()
          if (looks === 2) await mayRevoke.promise
          return database.row(texts, ...values)
        }
        const answer = ask(nodes[Number(node)] as Unanswered, Number(token), key as string, { row })
        const expectRefusal = async () =>
          assert.deepEqual(await answer, { code: 'AUTH_TOKEN_REVOKED', event: EVENTS[standing as string] })
        if (standing === 'revoked') return expectRefusal()
        if (standing === 'reused') {
          revokers[Number(who)] = () => {
            mayRevoke.resolve()
            return expectRefusal()
          }
          return Promise.race([isAtRevocation.promise, expectRefusal()])
        }
        const { event, code, successor: given } = (await answer) as Awaited<typeof answer> & Record<string, string>
        assert.deepEqual([event, code], [EVENTS[standing as string], undefined])
        expectToken(Number(successor), given)
      },
      '(.) revokes': (who) => revokers[Number(who)]?.(),
      '. is answered 503 for (.) with (\\w+)': async (token, key) => {
        pending = createUnanswered()
        const rowInBatch: Database['rowInBatch'] = (...statement) => {
          takeEffect = () => database.rowInBatch(...statement)
          return Promise.reject(new AuthError('AUTH_UNAVAILABLE'))
        }
        assert.equal((await ask(pending, Number(token), key as string, { rowInBatch })).code, 'AUTH_UNAVAILABLE')
      },
      'takes effect: .': async () => {
        assert.ok(await takeEffect())
        nodes[0] = pending // the model remembers one that takes effect, and one at a time
      },
      'logs out with (.)': async (token) => {
        const body = { refresh_token: tokens[Number(token)] }
        assert.equal((await server.call('POST', '/auth/logout', { body })).status, 204)
      },
      'copies .': () => {},
      'forges (.) of generation (.)': (token, generation) => {
        const bytes = Buffer.from(refresh_token, 'base64url')
        bytes.writeUInt32BE(Number(generation), 16)
        tokens[Number(token)] = bytes.toString('base64url')
      },
      'is backed up': async () => {
        putBack = await copySessions(server.env)
        isCopyFresh = true
      },
      'is set back': async () => {
        await putBack()
        if (!isCopyFresh) await letTimePass()
      },
      'the grace ends': () => {
        isCopyFresh = false
        return letTimePass()
      },
      'the minute ends': () => {
        nodes[0] = createUnanswered()
      },
    }

    for (const [index, line] of lines.entries()) {
      const [form, step] = Object.entries(steps).find(([form]) => new RegExp(`^${form}$`).test(line)) ?? []
      if (!form || !step) throw new Error(`the model printed what no step is for: ${line}`)
      const [, ...values] = new RegExp(`^${form}$`).exec(line) as RegExpExecArray
      try {
        await step(...values)
      } catch (cause) {
        throw new Error(`the module left the model at the last of:\n${lines.slice(0, index + 1).join('\n')}`, { cause })
      }
    }
    return standings
  }

  async function close(): Promise<void> {
    await passwords.close()
    await keys.close()
  }

  return { walk, close }
}
