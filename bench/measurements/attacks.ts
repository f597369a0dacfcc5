/** What anybody can send without a token, each in turns with what no server could avoid to spend on it. */
import { randomBytes } from 'node:crypto'
import { encode, encryptJwe, type Jwk, signJws } from '../../test/support/jose_by_hand.ts'
import { newJwk } from '../../test/support/keys.ts'
import type { Load, OperationOptions } from '../generator/load.ts'
import type { Part } from '../references/parts.ts'
import type { Work, WorkResult } from '../references/work.ts'
import { type ServerProcess, startServer, startWorker } from '../support/children.ts'
import { type Sample, sampleAnswer, startEchoRoutes } from '../support/echo.ts'
import { LIMITS_BY_DEFAULT, type Stage, type Turn } from '../support/stage.ts'
import { readPrivateKeys } from './saturated.ts'

const CONNECTIONS = 32
/** The module takes no longer bodies. */
const BODY_BYTES = 16 * 1024
/** As of a client that speaks TLS to a server that does not. */
const GARBAGE: OperationOptions = { name: 'bytes', bytes: `${'\x16\x03\x01\x00'.repeat(64)}\r\n\r\n`, status: 400 }
/** One address sends so many encrypted payloads, of which the default limit lets fewer be decrypted. */
const PAYLOADS = 150

export interface Attack {
  name: string
  /** In words. */
  unavoidable: string
  turns: Turn[]
  /** One sum for each round. */
  unavoidableMicroseconds: number[]
}

export interface Attacks {
  attacks: Attack[]
  /** Of `PAYLOADS`, by default. */
  payloadsBeforeLimit: number
}

interface Case extends Pick<Attack, 'name' | 'unavoidable'> {
  /** Unset: garbage. */
  sample?: Sample
  /** What is unavoidable beside an echo. */
  part?: Part
}

export async function measureAttacks(stage: Stage): Promise<Attacks> {
  const seconds = stage.isQuick ? 1 : 3
  const rounds = stage.isQuick ? 1 : 3
  const databaseUrl = await stage.createDatabase('attacks')
  const module = await stage.startModule(databaseUrl)
  const forged = await forge(module)
  const cases = await Promise.all(
    casesOf(forged).map(async (one) => ({ ...one, answer: one.sample && (await sampleAnswer(module, one.sample)) })),
  )
  const routes = new Map(cases.flatMap(({ answer }) => (answer ? [[answer.route.path, answer.route]] : [])))
  const echo = await startEchoRoutes([...routes.values()])
  const bare = await startServer(process.execPath, ['references/bare_server.ts'], {})
  const worker = startWorker<Work, WorkResult>('references/work.ts', {
    ...(await readPrivateKeys(databaseUrl, stage.keysSecret)),
    WRAPPED_KEY: forged.payload.split('.')[1] as string,
    BAD_KEY_TOKEN: forged.badKeyToken,
    BAD_SIGNATURE_TOKEN: forged.badSignatureToken,
  })
  const send = (server: ServerProcess, operation: OperationOptions): Promise<Turn> => {
    const warmUpSeconds = stage.isQuick ? 0.3 : 1
    const load: Load = { url: server.url, connections: CONNECTIONS, operation, warmUpSeconds, seconds }
    return stage.turn(load, server)
  }

  const attacks = cases.map(({ name, unavoidable }): Attack => {
    return { name, unavoidable, turns: [], unavoidableMicroseconds: [] }
  })
  for (let round = 1; round <= rounds; round++)
    for (const [index, { name, answer, part }] of cases.entries()) {
      const turn = await send(module, answer?.operation ?? GARBAGE)
      const answered = answer ? await send(echo, answer.operation) : await send(bare, GARBAGE)
      const work = part && (await stage.turnOfWork(worker, { part, seconds, width: CONNECTIONS }))
      const unavoidable = answered.microseconds + (work?.microseconds ?? 0)
      attacks[index]?.turns.push(turn)
      attacks[index]?.unavoidableMicroseconds.push(unavoidable)
      const problems = [turn, answered].flatMap(({ load }) => load?.errorSamples ?? []).join(' | ')
      const costs = `${turn.microseconds.toFixed(0)} µs, unavoidable ${unavoidable.toFixed(0)}`
      stage.progress(`attack ${round}/${rounds}  ${name}: ${costs} ${problems}`)
    }
  for (const server of [worker, bare, echo, module]) await server.stop()
  return { attacks, payloadsBeforeLimit: await countPayloads(stage, databaseUrl, payloadSample(forged.payload)) }
}

type Forged = Awaited<ReturnType<typeof forge>>

/** What a stranger makes of the published keys. */
async function forge(module: ServerProcess) {
  const { keys } = (await (await fetch(`${module.url}/.well-known/jwks.json`)).json()) as { keys: Jwk[] }
  const keyOf = (use: string) => keys.find((key) => key.use === use) as Jwk
  const [front, enc, sig] = [keyOf('enc_front'), keyOf('enc'), keyOf('sig')]
  const jws = signJws({ alg: 'ES256', typ: 'at+jwt', kid: sig.kid }, { sub: 'somebody' }, newJwk())
  const badSignatureToken = encryptJwe({ alg: enc.alg, enc: 'A256GCM', cty: 'JWT', kid: enc.kid }, jws, enc)
  const payload = encryptJwe({ alg: front.alg, enc: 'A256GCM', kid: front.kid }, '{}', front)
  return { badSignatureToken, badKeyToken: withRandomPart(badSignatureToken, 1), payload: withRandomPart(payload, 4) }
}

/** @param place in a compact JWE: 1 is the wrapped key, 4 the tag */
function withRandomPart(jwe: string, place: number): string {
  const parts = jwe.split('.')
  parts[place] = encode(randomBytes(Buffer.from(parts[place] as string, 'base64url').length))
  return parts.join('.')
}

function casesOf({ payload, badKeyToken, badSignatureToken }: Forged): Case[] {
  const showing = (token: string): Sample => ({
    ...{ method: 'GET', path: '/auth/me', headers: { authorization: `Bearer ${token}` } },
  })
  const [before, after] = ['{"email":', ',"password":""}']
  const depth = Math.floor((BODY_BYTES - before.length - after.length) / 2)
  return [
    {
      ...{ name: 'refused `__front_enc__`', sample: payloadSample(payload), part: 'decryptKey' },
      unavoidable: 'an echo, and one decryption by RSA-OAEP',
    },
    {
      ...{ name: 'me, a token whose key was not wrapped for us', sample: showing(badKeyToken), part: 'refuseBadKey' },
      unavoidable: 'an echo, and jose refusing it',
    },
    {
      ...{ name: 'me, a token encrypted for us that we did not sign', sample: showing(badSignatureToken) },
      ...{ part: 'refuseBadSignature', unavoidable: 'an echo, and jose refusing it' },
    },
    {
      ...{ name: '16 KiB of nested JSON', unavoidable: 'an echo, which parses it too' },
      sample: posting('/auth/register', before + '['.repeat(depth) + ']'.repeat(depth) + after),
    },
    { name: 'logout without a token', unavoidable: 'an echo', sample: posting('/auth/logout', '{}') },
    { name: 'bytes that are no request', unavoidable: 'the same at a bare server of node:http' },
  ]
}

function payloadSample(payload: string): Sample {
  return posting('/auth/login', JSON.stringify({ __front_enc__: payload }))
}

function posting(path: string, body: string): Sample {
  return { method: 'POST', path, headers: { 'content-type': 'application/json' }, body }
}

/** @returns how many of this sample one address gets answered before the limit on failures refuses the next */
async function countPayloads(stage: Stage, databaseUrl: string, sample: Sample): Promise<number> {
  const module = await stage.startModule(databaseUrl, { env: LIMITS_BY_DEFAULT })
  let count = 0
  while (count < PAYLOADS && (await sampleAnswer(module, sample)).route.status !== 429) count++
  await module.stop()
  return count
}
