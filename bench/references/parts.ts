/** The parts of an operation, bare: a statement, a token made or checked, a password compared. */
import {
  createCipheriv,
  createHash,
  createPrivateKey,
  diffieHellman,
  generateKeyPairSync,
  privateDecrypt,
  randomBytes,
  sign,
} from 'node:crypto'
import bcrypt from 'bcrypt'
import { type CryptoKey, compactDecrypt, importJWK, jwtVerify } from 'jose'
import pg from 'pg'
import type { Config } from '../../src/config.ts'
import * as statements from '../../src/db/auth.ts'
import type { Database } from '../../src/db/database.ts'
import type { RefreshToken } from '../../src/models/refresh_token.ts'

export type Part =
  | 'rotate'
  | 'rotateTogether'
  | 'select'
  | 'selectTogether'
  | 'issue'
  | 'verify'
  | 'compare'
  | 'decryptKey'
  | 'refuseBadKey'
  | 'refuseBadSignature'

/** What a refresh signs and encrypts: header and claims of an ES256 JWS, and the JWS with the header of its JWE. */
const SIGNED_BYTES = 480
const ENCRYPTED_BYTES = 570
const HEADER_BYTES = 390
/** As many as the load has connections. */
const CALLERS_TOGETHER = 32

/** As the module's own. */
const pool = new pg.Pool({
  connectionString: process.env.DATABASE_URL,
  max: 10,
  onConnect: (client) => client.query('set plan_cache_mode = force_generic_plan'),
})

/**
 * Each is prepared once and then done over and over; a piece of work is for one caller unless it tells for how many.
 */
export const parts: Record<Part, () => Promise<() => Promise<unknown>>> = {
  rotate: () => rotateFor(1),
  rotateTogether: () => rotateFor(CALLERS_TOGETHER),
  select: () => selectFor(1),
  selectTogether: () => selectFor(CALLERS_TOGETHER),

  /**
   * ES256 and then ECDH-ES+A256KW with A256GCM, the module's default, by node:crypto and without anything around it.
   */
  async issue() {
    const signing = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const recipient = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const signed = randomBytes(SIGNED_BYTES)
    const plaintext = randomBytes(ENCRYPTED_BYTES)
    const header = randomBytes(HEADER_BYTES)
    const otherInfo = Buffer.alloc(4 + 32 + 14 + 4 + 4 + 4)
    return async () => {
      sign('sha256', signed, { key: signing.privateKey, dsaEncoding: 'ieee-p1363' })
      const ephemeral = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      ephemeral.publicKey.export({ format: 'jwk' })
      const secret = diffieHellman({ privateKey: ephemeral.privateKey, publicKey: recipient.publicKey })
      const wrappingKey = createHash('sha256').update(secret).update(otherInfo).digest()
      const contentKey = randomBytes(32)
      const wrap = createCipheriv('id-aes256-wrap', wrappingKey, Buffer.alloc(8, 0xa6))
      Buffer.concat([wrap.update(contentKey), wrap.final()])
      const cipher = createCipheriv('aes-256-gcm', contentKey, randomBytes(12)).setAAD(header)
      Buffer.concat([cipher.update(plaintext), cipher.final()])
      cipher.getAuthTag()
    }
  },

  /** What jose alone takes to open one of the module's tokens. */
  verify: () => openToken('TOKEN'),
  /** And to refuse one whose content key was not wrapped for us, or one whose signature is not ours. */
  refuseBadKey: async () => refused(await openToken('BAD_KEY_TOKEN')),
  refuseBadSignature: async () => refused(await openToken('BAD_SIGNATURE_TOKEN')),

  /** By RSA-OAEP-256 the content key of what a browser encrypted for us. */
  async decryptKey() {
    const key = createPrivateKey({ key: JSON.parse(process.env.FRONT_JWK as string), format: 'jwk' })
    const wrapped = Buffer.from(process.env.WRAPPED_KEY as string, 'base64url')
    return async () => void privateDecrypt({ key, oaepHash: 'sha256' }, wrapped)
  },

  async compare() {
    const hash = bcrypt.hashSync('something', Number(process.env.ROUNDS))
    return () => bcrypt.compare('something', hash)
  },
}

/** @param name of the variable that holds the token; the module's private keys stand in others */
async function openToken(name: string) {
  const token = process.env[name] as string
  const encryptionKey = (await importJWK(JSON.parse(process.env.ENC_JWK as string), 'ECDH-ES+A256KW')) as CryptoKey
  const { d: _private, ...publicJwk } = JSON.parse(process.env.SIG_JWK as string)
  const signingKey = (await importJWK(publicJwk, 'ES256')) as CryptoKey
  return async () => {
    const { plaintext } = await compactDecrypt(token, encryptionKey)
    await jwtVerify(plaintext, signingKey)
  }
}

function refused(open: () => Promise<void>) {
  return () =>
    open().then(
      () => Promise.reject(new Error('The forged token was taken')),
      () => undefined,
    )
}

/** The module's own statement, taken from it, for so many sessions of the table at once, in turns. */
async function rotateFor(callers: number) {
  const { rows } = await pool.query('select id, token_hash, generation from refresh_tokens limit $1', [
    Number(process.env.SESSIONS),
  ])
  const sessions = rows.map(({ id, token_hash, generation }) => tokenOf(id, token_hash, generation))
  const salt = randomBytes(32)
  const config = { refreshTtlSeconds: 1_209_600 } as Config
  let turn = 0
  return () => {
    const asked = Array.from({ length: callers }, () => {
      const place = turn++ % sessions.length
      const { sessionId, generation, ...live } = sessions[place] as RefreshToken
      const successor = tokenOf(sessionId, randomBytes(32), generation + 1)
      const presented = { ...live, sessionId, generation }
      sessions[place] = successor
      return captured((db) => statements.rotateToken(db, config, presented, null, successor, salt))
    })
    return runTogether('rotate', asked)
  }
}

/** A token as far as the statement knows it. */
function tokenOf(sessionId: string, hash: Buffer, generation: number): RefreshToken {
  return { bytes: hash, sessionId, hash, generation, isOurs: true }
}

async function selectFor(callers: number) {
  const { rows } = await pool.query('select id, user_id from refresh_tokens where revoked_at is null limit $1', [
    callers,
  ])
  const asked = rows.map(({ id, user_id }) => captured((db) => statements.findUserOfSession(db, id, user_id)))
  return () => runTogether('select', asked)
}

interface Statement {
  text: string
  values: unknown[]
}

/** @returns for how many callers it was */
async function runTogether(name: string, asked: Statement[]): Promise<number> {
  const { text, values } = asked[0] as Statement
  const columns = values.map((_, column) => asked.map((statement) => statement.values[column]))
  const { rows } = await pool.query({ name, text, values: columns })
  if (rows.length !== asked.length) throw new Error(`The statement answered ${rows.length} rows of ${asked.length}`)
  return asked.length
}

/** The text and the values of one caller that a function of the module would have sent. */
function captured(call: (db: Database) => unknown): Statement {
  let statement: Statement = { text: '', values: [] }
  const rowInBatch = (texts: TemplateStringsArray, ...values: unknown[]) => {
    statement = { text: texts.reduce((before, after, index) => `${before}$${index}${after}`), values }
  }
  call({ rowInBatch, reservedRowInBatch: rowInBatch } as unknown as Database)
  return statement
}
