/**
 * What may be tried how often; a limit of 0 is off. An attempt at a password is counted before it is made, so that a
 * thousand at once are no more than one by one, and given back unless the password was wrong.
 */
import { RateLimiterMemory, RateLimiterPostgres } from 'rate-limiter-flexible'
import type { Config } from '../config.ts'
import { hasSessionFrom } from '../db/auth.ts'
import type { Database } from '../db/database.ts'
import { AuthError, type Client } from '../models/types.ts'
import { sha256 } from '../utils/tokens.ts'

const WINDOW_SECONDS = 15 * 60
const ACCOUNT_WINDOW_SECONDS = 60 * 60
/** A payload with `iat` is stale long before that; the jti of one without is remembered for so long. */
const JTI_SECONDS = 24 * 60 * 60
/** So many times its limit closes an account to all new networks, and so many times that of an address a whole /48. */
const FACTOR = 10

type Limiter = RateLimiterMemory | RateLimiterPostgres
export type RateLimits = ReturnType<typeof createRateLimits>

interface Count {
  limiter: Limiter
  /** SHA-256 of what is counted by, in base64url. */
  key: string
  /** How many there were in this window, with this one. */
  points: number
  windowEndsMs: number
}

export function createRateLimits(config: Config, database: Database) {
  const points = 0 // unused: each count is compared here
  const inMemory = (keyPrefix: string, duration = WINDOW_SECONDS) =>
    new RateLimiterMemory({ keyPrefix, points, duration })
  const inDatabase = (keyPrefix: string, duration = WINDOW_SECONDS) =>
    new RateLimiterPostgres({
      keyPrefix,
      points,
      duration,
      tableName: 'rate_limits',
      tableCreated: true,
      storeClient: database,
      storeType: 'client',
      clearExpiredByTimeout: false, // its one DELETE of everything may outlast any time-out
    })
  const shared = database.isEmbedded ? inMemory : inDatabase

  const logins = shared('login')
  const accounts = shared('account', ACCOUNT_WINDOW_SECONDS)
  const strangers = shared('stranger')
  const registrations = shared('register')
  const failures = shared('failure')
  const blockedNetworks = inMemory('blocked')
  const rotations = inMemory('rotation')
  const usedJtis = inDatabase('jti', JTI_SECONDS)

  /** @param counts whereto each count that is made is added, also when the last of them is refused */
  async function admit(email: string, { ip, network, wideNetwork }: Client, counts: Count[]): Promise<void> {
    const { rateLimitLogin, rateLimitAccount } = config
    if (rateLimitLogin > 0) {
      const login = await count(logins, `${email} ${network}`, counts)
      if (login.points > rateLimitLogin) throw refusal('login', login.windowEndsMs)
    }
    if (rateLimitAccount === 0) return
    const account = await count(accounts, email, counts)
    if (account.points <= rateLimitAccount || (await hasSessionFrom(database, email, ip))) return
    if (account.points > FACTOR * rateLimitAccount) throw refusal('account', account.windowEndsMs)
    const stranger = await count(strangers, `${email} ${wideNetwork}`, counts)
    if (stranger.points > 1) throw refusal('account', stranger.windowEndsMs)
  }

  /** What a database that is away keeps does no harm, and must not cost an answer. */
  async function giveBack(counts: Count[]): Promise<void> {
    const current = counts.filter(({ windowEndsMs }) => Date.now() < windowEndsMs) // a next window has not counted it
    await Promise.allSettled(current.map(({ limiter, key }) => limiter.reward(key)))
  }

  /** Counts a wrong password, or an encrypted payload that was decrypted in vain.
   * @throws {AuthError} AUTH_RATE_LIMIT when there were already as many as allowed */
  async function countFailure({ network, wideNetwork }: Client): Promise<void> {
    const limit = config.rateLimitFailures
    if (limit === 0) return
    const ofNetwork = [network, limit] as const
    const ofWideNetwork = [wideNetwork, FACTOR * limit] as const
    for (const [name, most] of network === wideNetwork ? [ofNetwork] : [ofWideNetwork, ofNetwork]) {
      const failure = await count(failures, name)
      const blockedSeconds = Math.max(1, (failure.windowEndsMs - Date.now()) / 1000) // to the library, 0 means for ever
      if (failure.points >= most) await blockedNetworks.block(name, blockedSeconds)
      if (failure.points > most) throw refusal('failures', failure.windowEndsMs)
    }
  }

  return {
    countFailure,

    /**
     * Makes an attempt at the password of an email. It stays counted when it throws AUTH_INVALID_CREDENTIALS.
     * @throws {AuthError} AUTH_RATE_LIMIT for one too many, or what the attempt throws
     */
    async countAttempt<Result>(email: string, client: Client, attempt: () => Promise<Result>): Promise<Result> {
      const counts: Count[] = []
      try {
        await admit(email, client, counts)
        const result = await attempt()
        await giveBack(counts)
        return result
      } catch (error) {
        const isWrong = error instanceof AuthError && error.code === 'AUTH_INVALID_CREDENTIALS'
        await (isWrong ? countFailure(client) : giveBack(counts))
        throw error
      }
    },

    /** @throws {AuthError} AUTH_RATE_LIMIT for one registration too many */
    async countRegistration({ network }: Client): Promise<void> {
      if (config.rateLimitRegister === 0) return
      const registration = await count(registrations, network)
      if (registration.points > config.rateLimitRegister) throw refusal('register', registration.windowEndsMs)
    },

    /** Asks this node's memory alone; another node learns of it at the next failure.
     * @throws {AuthError} AUTH_RATE_LIMIT while the client's network has used up its failures */
    async refuseBlocked({ network, wideNetwork }: Client): Promise<void> {
      if (config.rateLimitFailures === 0) return
      for (const name of [network, wideNetwork]) {
        const blocked = await blockedNetworks.get(name)
        if (blocked && blocked.msBeforeNext > 0) throw refusal('failures', Date.now() + blocked.msBeforeNext)
      }
    },

    /** What to throw at a session that has used up its rotations. */
    async rotationRefusal(sessionId: string): Promise<AuthError | undefined> {
      if (config.rateLimitRefresh === 0) return undefined
      const used = await rotations.get(sessionId)
      const isOver = used && used.msBeforeNext > 0 && used.consumedPoints >= config.rateLimitRefresh
      return isOver ? refusal('refresh', Date.now() + used.msBeforeNext) : undefined
    },
    async countRotation(sessionId: string): Promise<void> {
      if (config.rateLimitRefresh > 0) await rotations.penalty(sessionId)
    },

    /** Remembers the jti of an encrypted payload, in either database. */
    async isFirstUse(jti: string): Promise<boolean> {
      return (await count(usedJtis, jti)).points === 1
    },
  }
}

async function count(limiter: Limiter, text: string, counts: Count[] = []): Promise<Count> {
  const key = sha256(text).toString('base64url')
  const { consumedPoints, msBeforeNext } = await limiter.penalty(key)
  const made = { limiter, key, points: consumedPoints, windowEndsMs: Date.now() + msBeforeNext }
  counts.push(made)
  return made
}

function refusal(limit: string, windowEndsMs: number): AuthError {
  const retryAfterSeconds = Math.max(1, Math.ceil((windowEndsMs - Date.now()) / 1000))
  return new AuthError('AUTH_RATE_LIMIT', { limit, retryAfterSeconds })
}
