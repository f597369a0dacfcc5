/** The environment: the contract's names and defaults, and what is said of a value that cannot be. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, suite, test } from 'node:test'
import { type Config, findStrangeVariables, loadConfig, StartError } from '../src/config.ts'

const CONTRACT = readFileSync(new URL('../contract/req.back.v3.2.mini.yml', import.meta.url), 'utf8')

const SECRET = 'K'.repeat(43)
const SECRET_FILE = join(mkdtempSync(join(tmpdir(), 'cerrojo-secret-')), 'secret')
writeFileSync(SECRET_FILE, `${SECRET}\n`)
const URL_FILE = `${SECRET_FILE}.url`
writeFileSync(URL_FILE, 'postgres://ana:s3cret@db.example/auth\n')
const EMPTY_FILE = `${SECRET_FILE}.empty`
writeFileSync(EMPTY_FILE, '')
after(() => rmSync(dirname(SECRET_FILE), { recursive: true }))

/** For each variable a value that is allowed and not the default, and values that are refused. */
const VALUES: Record<string, { other: string; refused: string[] }> = {
  HOST: { other: '0.0.0.0', refused: [] },
  PORT: { other: '0', refused: ['-1', '65536', 'http', '3000.5', '0x10', '3e3'] },
  DATABASE_URL: { other: 'postgres://ana:s3cret@db.example/auth', refused: ['mysql://ana:s3cret@db/auth', 's3cret'] },
  DATABASE_URL_FILE: { other: URL_FILE, refused: [`${URL_FILE}.none`, tmpdir(), SECRET_FILE] },
  DATABASE_POOL_SIZE: { other: '2', refused: ['1', 'many'] },
  DATABASE_CONNECT_TIMEOUT_SEC: { other: '30', refused: ['0', 'soon'] },
  DATABASE_START_TIMEOUT_SEC: { other: '0', refused: ['-1', 'for ever'] },
  AUTH_DATA_DIR: { other: '/var/lib/cerrojo', refused: [] },
  AUTH_KEY_ROTATION_DAYS: { other: '0', refused: ['-1', 'monthly', '1e3'] },
  AUTH_KEY_GRACE_DAYS: { other: '30.5', refused: ['-1', 'x'] },
  AUTH_KEY_LEAD_DAYS: { other: '0.5', refused: ['-1', 'a week'] },
  AUTH_KEYS_SECRET: { other: SECRET, refused: ['s3cret', `${SECRET}=`] },
  AUTH_KEYS_SECRET_FILE: { other: SECRET_FILE, refused: [`${SECRET_FILE}.none`, tmpdir(), EMPTY_FILE] },
  AUTH_KEYS_SECRET_PREVIOUS: { other: SECRET, refused: ['s3cret'] },
  AUTH_KEYS_SECRET_PREVIOUS_FILE: { other: SECRET_FILE, refused: [`${SECRET_FILE}.none`] },
  AUTH_ISS: { other: 'https://auth.example.com', refused: [] },
  AUTH_AUD: { other: 'https://api.example.com', refused: [] },
  AUTH_SIGNING_ALG: { other: 'RS256', refused: ['none', 'HS256', 'es256', 'ES256,RS256'] },
  AUTH_JWE_ALG: { other: 'RSA-OAEP-256', refused: ['dir', 'RSA-OAEP', 'RSA1_5', 'ECDH-ES'] },
  AUTH_ACCESS_TTL_SEC: { other: '60', refused: ['0', '-900', '15m', '1.5', '2147483648'] },
  AUTH_REFRESH_TTL_SEC: { other: '60', refused: ['0', '14d', '1e400'] },
  AUTH_SESSION_MAX_SEC: { other: '60', refused: ['0', 'Infinity'] },
  AUTH_REFRESH_GRACE_SEC: { other: '10', refused: ['-1', 'yes'] },
  AUTH_REFRESH_TRANSPORT: { other: 'cookie', refused: ['header', 'Cookie'] },
  AUTH_COOKIE_NAME: { other: '__Secure-session', refused: ['a b', 'a;b', 'a=b', 'é'] },
  AUTH_COOKIE_PATH: { other: '/api/auth', refused: ['auth', '/a;b', '/a b', 'https://x/auth'] },
  AUTH_COOKIE_SECURE: { other: 'false', refused: ['no', '0', 'False'] },
  AUTH_COOKIE_SAMESITE: { other: 'Lax', refused: ['strict', 'Loose'] },
  AUTH_CLOCK_SKEW_SEC: { other: '0', refused: ['-60', '1m'] },
  AUTH_JWKS_CACHE_TTL_SEC: { other: '1', refused: ['0', 'never', '86401'] },
  AUTH_BCRYPT_ROUNDS: { other: '4', refused: ['3', '17', 'twelve'] },
  AUTH_HASH_CONCURRENCY: { other: '999', refused: ['0', 'all'] },
  AUTH_HASH_QUEUE: { other: '0', refused: ['-1', 'long'] },
  AUTH_REQUIRE_VERIFIED_EMAIL: { other: 'true', refused: ['yes', '1', 'TRUE'] },
  AUTH_FRONT_ENC_REQUIRED: { other: 'true', refused: ['on'] },
  AUTH_RATE_LIMIT_LOGIN: { other: '0', refused: ['-1', '10/m'] },
  AUTH_RATE_LIMIT_ACCOUNT: { other: '0', refused: ['-1', '1e2'] },
  AUTH_RATE_LIMIT_REGISTER: { other: '0', refused: ['-1', 'ten'] },
  AUTH_RATE_LIMIT_REFRESH: { other: '0', refused: ['-1', '1 000'] },
  AUTH_RATE_LIMIT_FAILURES: { other: '0', refused: ['-1', 'off'] },
  AUTH_PURGE_AFTER_DAYS: { other: '0', refused: ['-1', 'never', '9999999'] },
  SHUTDOWN_DELAY_SEC: { other: '5', refused: ['-1', '5s'] },
  AUTH_TRUST_PROXY: {
    other: '10.0.0.0/8, ::1',
    refused: ['true', 'proxy.example', '10.0.0.0/33', '::1,', '10.0.0.256', '10', '127.1'],
  },
  AUTH_CORS_ORIGINS: {
    other: 'https://app.example.com,http://localhost:5173,capacitor://localhost,chrome-extension://abcdefgh',
    refused: ['*', 'null', 'app.example.com', 'https://app.example.com/', 'https://*.example.com', 'https://a.b,,'],
  },
  LOG_LEVEL: { other: 'info', refused: ['loud', 'INFO'] },
}

suite('the environment', () => {
  test('has the names of the contract and no others', () => {
    const read = new Set<string>()
    loadConfig(new Proxy({}, { get: (_, name) => void read.add(String(name)) }))
    assert.deepEqual([...read].sort(), Object.keys(contractEnvironment()).sort())
    assert.deepEqual(Object.keys(VALUES).sort(), [...read].sort())
  })

  for (const [name, inContract] of Object.entries(contractEnvironment()))
    test(`${name} has the default of the contract, and another value changes one setting`, () => {
      const defaults = loadConfig({})
      if (inContract !== undefined) assert.deepEqual(loadConfig({ [name]: inContract }), defaults)
      for (const unset of ['', '  ']) assert.deepEqual(loadConfig({ [name]: unset }), defaults)
      const changed = loadConfig({ [name]: VALUES[name]?.other })
      const different = (Object.keys(defaults) as (keyof Config)[]).filter(
        (setting) =>
          setting !== 'keysSecretSource' && JSON.stringify(changed[setting]) !== JSON.stringify(defaults[setting]),
      )
      // That file is read again and again, so its name is kept as well.
      assert.equal(different.length, name === 'DATABASE_URL_FILE' ? 2 : 1, different.join())
    })

  test('needs nothing to be set, and then uses the embedded database, trusts no proxy and logs what is wrong', () => {
    const { databaseUrl, trustedProxies, corsOrigins, logLevel } = loadConfig({})
    assert.deepEqual([databaseUrl, trustedProxies, corsOrigins, logLevel], [undefined, [], [], 'warn'])
  })

  test('may have lists with blanks between the items', () => {
    assert.deepEqual(loadConfig({ AUTH_TRUST_PROXY: ' 10.0.0.1 , fd00::/8' }).trustedProxies, ['10.0.0.1', 'fd00::/8'])
    const origins = ['https://a.example', 'http://b.example:81']
    assert.deepEqual(loadConfig({ AUTH_CORS_ORIGINS: origins.join(' ,  ') }).corsOrigins, origins)
  })
})

suite('a bad variable', () => {
  for (const [name, { refused }] of Object.entries(VALUES).filter(([, { refused }]) => refused.length > 0))
    test(`${name} keeps the module from starting, and is named with what it got and what it wants`, () => {
      for (const value of refused) {
        const message = messageFor({ [name]: value })
        assert.match(message, new RegExp(`^${name} must be \\S+.*, but is \\S+.*$`))
        assert.equal(message.includes(`"${value}"`), !/^DATABASE_URL$|SECRET(_PREVIOUS)?$/.test(name))
      }
    })

  test('is named along with all the others', () => {
    const message = messageFor({ PORT: 'http', AUTH_ISS: 'fine', AUTH_BCRYPT_ROUNDS: '3', LOG_LEVEL: 'loud' })
    assert.deepEqual(
      message.split('\n').map((line) => line.split(' ')[0]),
      ['PORT', 'AUTH_BCRYPT_ROUNDS', 'LOG_LEVEL'],
    )
  })

  test('is not shown when it is DATABASE_URL, which may hold a password, whatever signs are in it', () => {
    const urls = ['/', '?', '#', '@', ' '].map((sign) => `postgres://ana:s3cret${sign}s3cret@db/auth`)
    for (const url of [...urls, 's3cret', 'postgresql//ana:s3cret@db/auth', 'postgres://ana:s3cret@db:port/auth'])
      assert.doesNotMatch(messageFor({ DATABASE_URL: url, PORT: 'http' }), /s3cret|ana/)
  })

  test('tells the bounds that there are: a number at one is taken, and the next beyond it refused', () => {
    const asked = Object.keys(VALUES).map((name) => [name, refusalOf({ [name]: '99999999999' })] as const)
    const bounded = asked.flatMap(([name, message = '']) => {
      const [, least = '0', most] = /(?:from (\d+) to|up to) (\d+), but/.exec(message) ?? []
      return most === undefined ? [] : [{ name, least: Number(least), most: Number(most) }]
    })
    assert.ok(bounded.length > 20)
    for (const { name, least, most } of bounded) {
      const isRefused = (value: number) =>
        new RegExp(`^${name} must be a .*number`).test(refusalOf({ [name]: String(value) }) ?? '')
      for (const value of [least, most]) assert.equal(isRefused(value), false, `${name}=${value}`)
      for (const value of [least - 1, most + 0.1, most + 1]) assert.ok(isRefused(value), `${name}=${value}`)
    }
  })

  test('tells the numbers and the words that it may be', () => {
    assert.match(messageFor({ AUTH_BCRYPT_ROUNDS: '99' }), /\b4\b.*\b16\b/)
    assert.match(messageFor({ AUTH_COOKIE_SAMESITE: 'Loose' }), /Strict.*Lax.*None/)
  })
})

test('AUTH_KEYS_SECRET and its file are refused together', () => {
  const message = messageFor({ AUTH_KEYS_SECRET: SECRET, AUTH_KEYS_SECRET_FILE: SECRET_FILE })
  assert.match(message, /^AUTH_KEYS_SECRET and AUTH_KEYS_SECRET_FILE must not both be set$/)
})

test('AUTH_KEY_GRACE_DAYS is refused below the longest life of a token', () => {
  const env = { AUTH_ACCESS_TTL_SEC: '86400', AUTH_CLOCK_SKEW_SEC: '60' }
  assert.match(
    messageFor({ ...env, AUTH_KEY_GRACE_DAYS: '1' }),
    /^AUTH_KEY_GRACE_DAYS must be at least .* together, 86460 s, but is 86400 s$/,
  )
  assert.ok(loadConfig({ ...env, AUTH_CLOCK_SKEW_SEC: '0', AUTH_KEY_GRACE_DAYS: '1' }), 'which is exactly that long')
})

test('an address may be that of a socket, and a host may stand in brackets', () => {
  const url = 'postgres://cerrojo@/auth?host=/run/postgresql'
  assert.equal(loadConfig({ DATABASE_URL: url }).databaseUrl, url)
  assert.equal(loadConfig({ HOST: '[::1]' }).host, '::1')
})

suite('a cookie whose name is a promise', () => {
  test('is refused where the promise is not kept', () => {
    const secure = { AUTH_COOKIE_SECURE: 'false', AUTH_COOKIE_PATH: '/' }
    assert.match(messageFor({ ...secure, AUTH_COOKIE_NAME: '__Host-refresh' }), /^AUTH_COOKIE_SECURE must be true/)
    assert.match(messageFor({ ...secure, AUTH_COOKIE_NAME: '__Secure-refresh' }), /^AUTH_COOKIE_SECURE must be true/)
    assert.match(messageFor({ AUTH_COOKIE_NAME: '__Host-refresh' }), /^AUTH_COOKIE_PATH must be \//)
  })

  test('is taken where it is', () => {
    assert.ok(loadConfig({ AUTH_COOKIE_NAME: '__Host-refresh', AUTH_COOKIE_PATH: '/' }))
    assert.ok(loadConfig({ AUTH_COOKIE_NAME: '__Secure-refresh', AUTH_COOKIE_PATH: '/api/auth' }))
  })
})

test('a variable that is none of ours is named with the nearest that is, and those of others are left alone', () => {
  const env = { AUTH_RATE_LIMT_LOGIN: '5', DATABASE_URI: 'x', PATH: '/bin', AUTH_ISS: 'x', DATABASE_URL: '' }
  assert.deepEqual(findStrangeVariables(env), [
    'AUTH_RATE_LIMT_LOGIN is no variable of Cerrojo; did you mean AUTH_RATE_LIMIT_LOGIN?',
    'DATABASE_URI is no variable of Cerrojo; did you mean DATABASE_URL?',
    'DATABASE_URL is set to nothing, so the embedded database is used',
  ])
  assert.deepEqual(findStrangeVariables({ DATABASE_URL: 'postgres://a@b/c' }), [])
})

suite('SameSite=None', () => {
  test('is refused for a cookie that is not Secure, whose browsers would drop it', () => {
    const message = messageFor({ AUTH_COOKIE_SAMESITE: 'None', AUTH_COOKIE_SECURE: 'false' })
    assert.match(message, /^AUTH_COOKIE_SAMESITE .*AUTH_COOKIE_SECURE.*"None"/)
  })

  test('is taken together with Secure, and so are the others without it', () => {
    assert.equal(loadConfig({ AUTH_COOKIE_SAMESITE: 'None' }).cookieSameSite, 'None')
    for (const sameSite of ['Lax', 'Strict'])
      assert.equal(loadConfig({ AUTH_COOKIE_SAMESITE: sameSite, AUTH_COOKIE_SECURE: 'false' }).cookieSameSite, sameSite)
  })
})

function messageFor(env: Record<string, string>): string {
  return refusalOf(env) ?? assert.fail('the environment was accepted')
}

/** @returns undefined when there is none */
function refusalOf(env: Record<string, string>): string | undefined {
  try {
    loadConfig(env)
    return undefined
  } catch (error) {
    assert.ok(error instanceof StartError)
    return error.message
  }
}

/** The contract's env section: each name with its default as text, or undefined for one that is unset by default. */
function contractEnvironment(): Record<string, string | undefined> {
  const section = /^env:\n((?: {2}.*\n)+)/m.exec(CONTRACT)?.[1] ?? ''
  const lines = section.matchAll(/^ {2}([A-Z_]+): "?([^\s":;]+)(.*)/gm)
  return Object.fromEntries(
    [...lines].map(([line, name, value]) => {
      if (line.includes('number of processors')) return [name, String(availableParallelism())]
      if (line.includes('20 a processor')) return [name, String(20 * availableParallelism())]
      return [name, value === 'unset' ? undefined : value]
    }),
  )
}
