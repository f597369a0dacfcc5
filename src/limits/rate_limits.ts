/** What may be tried how often, in windows of 15 minutes; a limit of 0 is off. */
import { RateLimiterMemory, RateLimiterPostgres, RateLimiterRes } from 'rate-limiter-flexible'
import type { Config } from '../config.ts'
import type { Database } from '../db/database.ts'
import { AuthError } from '../models/types.ts'
import { sha256 } from '../utils/tokens.ts'

const WINDOW_SECONDS = 15 * 60
/** A payload with `iat` is stale long before that; the jti of one without is remembered for so long. */
const JTI_SECONDS = 24 * 60 * 60

export type RateLimits = ReturnType<typeof createRateLimits>

export function createRateLimits(config: Config, database: Database) {
  const inMemory = (keyPrefix: string, points: number) =>
    new RateLimiterMemory({ keyPrefix, points, duration: WINDOW_SECONDS })
  const inDatabase = (keyPrefix: string, points: number, duration: number) =>
    new RateLimiterPostgres({
      ...{ keyPrefix, points, duration, tableName: 'rate_limits', tableCreated: true },
      ...{ storeClient: database, storeType: 'client' },
    })
  const shared = (keyPrefix: string, points: number) =>
    database.isEmbedded ? inMemory(keyPrefix, points) : inDatabase(keyPrefix, points, WINDOW_SECONDS)

  const logins = shared('login', config.rateLimitLogin)
  const registrations = shared('register', config.rateLimitRegister)
  const failures = shared('failure', config.rateLimitFailures)
  const blockedNetworks = inMemory('blocked', 1)
  const rotations = inMemory('rotation', config.rateLimitRefresh)
  const usedJtis = inDatabase('jti', 1, JTI_SECONDS)

  return {
    /** @throws {AuthError} AUTH_RATE_LIMIT for one login too many */
    async countLogin(email: string, network: string): Promise<void> {
      if (config.rateLimitLogin > 0) await consume(logins, `${email.toLowerCase()} ${network}`)
    },
    /** @throws {AuthError} AUTH_RATE_LIMIT for one registration too many */
    async countRegistration(network: string): Promise<void> {
      if (config.rateLimitRegister > 0) await consume(registrations, network)
    },
    /** Counts an answer of 401.
     * @throws {AuthError} AUTH_RATE_LIMIT when there were already as many as allowed */
    async countFailure(network: string): Promise<void> {
      if (config.rateLimitFailures === 0) return
      const { consumedPoints, msBeforeNext } = await failures.penalty(hashed(network))
      const blockedSeconds = Math.max(1, msBeforeNext / 1000) // to the library, 0 means for ever
      if (consumedPoints >= config.rateLimitFailures) await blockedNetworks.block(network, blockedSeconds)
      if (consumedPoints > config.rateLimitFailures) throw refusal('failures', msBeforeNext)
    },
    /** Asks this node's memory alone; another node learns of it at the next answer of 401.
     * @throws {AuthError} AUTH_RATE_LIMIT while the network has used up its failures */
    async refuseBlocked(network: string): Promise<void> {
      if (config.rateLimitFailures === 0) return
      const blocked = await blockedNetworks.get(network)
      if (blocked) throw refusal('failures', blocked.msBeforeNext)
    },
    /** What to throw at a session that has used up its rotations. */
    async rotationRefusal(familyHash: Buffer): Promise<AuthError | undefined> {
      if (config.rateLimitRefresh === 0) return undefined
      const used = await rotations.get(familyHash.toString('base64url'))
      return used && used.remainingPoints === 0 ? refusal('refresh', used.msBeforeNext) : undefined
    },
    async countRotation(familyHash: Buffer): Promise<void> {
      if (config.rateLimitRefresh > 0) await rotations.penalty(familyHash.toString('base64url'))
    },
    /** Remembers the jti of an encrypted payload, in either database. */
    async isFirstUse(jti: string): Promise<boolean> {
      return (await usedJtis.penalty(hashed(jti))).consumedPoints === 1
    },
  }
}

async function consume(limiter: RateLimiterMemory | RateLimiterPostgres, key: string): Promise<void> {
  try {
    await limiter.consume(hashed(key))
  } catch (error) {
    throw error instanceof RateLimiterRes ? refusal(limiter.keyPrefix, error.msBeforeNext) : error
  }
}

function hashed(key: string): string {
  return sha256(key).toString('base64url')
}

function refusal(limit: string, msBeforeNext: number): AuthError {
  return new AuthError('AUTH_RATE_LIMIT', { limit, retryAfterSeconds: Math.max(1, Math.ceil(msBeforeNext / 1000)) })
}
