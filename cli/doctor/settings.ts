/** What the settings say by themselves. */
import { isIPv4 } from 'node:net'
import type { Config } from '../../src/config.ts'
import { SETTINGS } from '../../src/settings.ts'
import { type Check, risky } from './check.ts'

export interface SettingsFacts {
  config: Config
  /** A sentence for each variable that looks like one of ours and is none. */
  strangers: string[]
}

export const SETTINGS_CHECKS: Check<SettingsFacts>[] = [
  risky(({ strangers }) => strangers, 'correct it, or take it out'),
  risky(
    ({ config }) => !config.databaseUrl && 'the embedded database is in use',
    'for production set DATABASE_URL to a PostgreSQL',
  ),
  risky(
    ({ config }) => [
      ...(config.issuer === SETTINGS.issuer.fallback ? [`AUTH_ISS is ${config.issuer}, as everywhere`] : []),
      ...(config.audience === SETTINGS.audience.fallback ? [`AUTH_AUD is ${config.audience}, as everywhere`] : []),
    ],
    'set a name of your own, on all nodes and where tokens are verified',
  ),
  risky(({ config }) => !config.cookieSecure && 'AUTH_COOKIE_SECURE is false', 'only for development on plain HTTP'),
  risky(({ config }) => config.bcryptRounds < 10 && `AUTH_BCRYPT_ROUNDS is ${config.bcryptRounds}`, 'use 12'),
  risky(({ config }) => limitsThatAreOff(config).map((name) => `${name} is 0`), 'take it out, for its default'),
  risky(
    ({ config }) => config.refreshGraceSeconds > 60 && `AUTH_REFRESH_GRACE_SEC is ${config.refreshGraceSeconds}`,
    'set 0, and let clients send an Idempotency-Key',
  ),
  risky(
    ({ config }) => config.accessTtlSeconds > 3600 && `AUTH_ACCESS_TTL_SEC is ${config.accessTtlSeconds}`,
    'use 900; refreshing is what makes sessions long',
  ),
  risky(
    ({ config }) =>
      config.corsOrigins
        .filter((origin) => origin.startsWith('http:'))
        .map((origin) => `AUTH_CORS_ORIGINS has ${origin}`),
    'pages on plain HTTP are only for development; name https:// ones',
  ),
  risky(
    ({ config: { host, trustedProxies } }) =>
      !/^(127\.|::1$|localhost$)/.test(host) &&
      trustedProxies.length === 0 &&
      `HOST is ${host} and AUTH_TRUST_PROXY is unset`,
    'put a proxy with TLS in front, and name it in AUTH_TRUST_PROXY',
  ),
  risky(
    ({ config: { refreshTransport, cookieSecure, trustedProxies } }) =>
      refreshTransport === 'cookie' &&
      cookieSecure &&
      trustedProxies.length === 0 &&
      'AUTH_REFRESH_TRANSPORT is cookie and AUTH_TRUST_PROXY is unset',
    'name the proxy that ends TLS in AUTH_TRUST_PROXY, or your own pages are taken for foreign ones',
  ),
  risky(
    ({ config }) => config.trustedProxies.filter(isVeryWide).map((network) => `AUTH_TRUST_PROXY has ${network}`),
    'name the proxies alone: whoever is trusted may take any address, and so escape every limit',
  ),
  risky(
    ({ config }) => /^(debug|trace)$/.test(config.logLevel) && `LOG_LEVEL is ${config.logLevel}`,
    'use info or higher in production',
  ),
  risky(
    ({ config }) => /^(silent|fatal|error)$/.test(config.logLevel) && `LOG_LEVEL is ${config.logLevel}`,
    'use warn, or nobody sees that a token was stolen or an account is being guessed',
  ),
]

function limitsThatAreOff(config: Config): string[] {
  const off = Object.entries(config).filter(([field, value]) => field.startsWith('rateLimit') && value === 0)
  return off.map(([field]) => SETTINGS[field as keyof typeof SETTINGS].name)
}

/** Than 10.0.0.0/8 and fc00::/7, the largest networks that anybody has of his own. */
function isVeryWide(network: string): boolean {
  const [address = '', bits] = network.split('/')
  return Number(bits) < (isIPv4(address) ? 8 : 7)
}
