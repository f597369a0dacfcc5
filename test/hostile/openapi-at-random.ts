/** Requests at random, made of what contract/openapi.json allows: just so, nearly so, and not at all. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import type { TSchema } from 'typebox'
import Value from 'typebox/value'
import { newVictim, type Target } from '../support/hostile.ts'
import type { Answer } from '../support/server.ts'

/** A schema of OpenAPI, as far as ours go. */
interface Schema {
  type?: string
  enum?: string[]
  pattern?: string
  anyOf?: Schema[]
  properties?: Record<string, Schema>
  required?: string[]
}
interface Content {
  content?: { 'application/json': { schema: Schema } }
}
interface Operation {
  parameters?: { in: 'query' | 'header'; name: string; schema: Schema }[]
  requestBody?: Content
  responses: Record<string, Content>
}
type Paths = Record<string, Record<string, Operation>>
type Values = Record<string, fc.Arbitrary<unknown>>

const DOCUMENT = join(import.meta.dirname, '../../contract/openapi.json')
/** In each text that may stand for a secret. As a password it keeps the rules. */
const MARK = 'shibboleth7'
const RUNS = { own: 100, foreign: 10 }
const STRANGE_NAMES = ['__proto__', 'constructor', 'toString', 'id', 'email_verified', 'disabled_at', '']
const STRANGE_TYPES = [
  'application/json; charset=utf-16',
  'application/problem+json',
  'text/plain',
  'multipart/form-data',
]

const { paths } = JSON.parse(readFileSync(DOCUMENT, 'utf8')) as { paths: Paths }
const secrets = fc.string({ unit: 'binary', maxLength: 70 }).map((text) => MARK + text)
/** What a header may hold, which is no NUL, CR or LF, and nothing beyond ISO 8859-1. */
const headerTexts = fc.string({
  unit: fc.integer({ min: 0x20, max: 0xff }).map((code) => (code === 0x7f ? '\t' : String.fromCharCode(code))),
})

export default function attack(target: Target): void {
  test('what the document allows is answered as it says', async () => {
    const { access_token, refresh_token } = await target.logIn()
    const body = { refresh_token }
    for (const [method, path, request] of [
      ...(target.own ? [['post', '/auth/register', { body: newVictim() }] as const] : []),
      ['post', '/auth/login', { body: target.user }],
      ['get', '/auth/me', { headers: { authorization: `Bearer ${access_token}` } }],
      ['get', '/.well-known/jwks.json', {}],
      ['post', '/auth/token/refresh', { body }],
      ['post', '/auth/logout', { body }],
    ] as const) {
      const answer = await target.call(method.toUpperCase(), path, request)
      assert.ok(answer.status < 300, `${path}: ${answer.status}`)
      assertDeclared(target, paths[path]?.[method] as Operation, answer)
    }
  })

  for (const [path, operations] of Object.entries(paths))
    for (const [method, operation] of Object.entries(operations))
      test(`whatever comes to ${method} ${path} is answered as the document says, and nothing secret`, async () => {
        const { url, headers, body } = requestsTo(operation, path, await genuineValues(target))
        await fc.assert(
          fc.asyncProperty(url, headers, body, async (url, headers, body) => {
            const answer = await target.call(method.toUpperCase(), url, { headers, body })
            assertDeclared(target, operation, answer)
            assert.ok(!JSON.stringify([answer.body, ...answer.headers]).includes(MARK), 'it shows what it was sent')
          }),
          { numRuns: RUNS[target.own ? 'own' : 'foreign'] },
        )
      })
}

/** By the names of fields and headers. Emails of a foreign deployment are none, so that nobody is guessed at there. */
async function genuineValues({ own, user, logIn }: Target): Promise<Values> {
  const { access_token, refresh_token } = await logIn()
  return {
    ...(own && { email: fc.oneof(secrets, fc.emailAddress(), fc.constant(user.email)) }),
    ...(own && { password: fc.oneof(secrets, fc.constant(user.password)) }),
    refresh_token: fc.oneof(secrets, fc.constant(refresh_token)),
    authorization: fc.oneof(
      headerTexts,
      headerTexts.map((text) => `Bearer ${MARK}${text}`),
      fc.constant(`Bearer ${access_token}`),
    ),
  }
}

function requestsTo({ parameters = [], requestBody }: Operation, path: string, genuine: Values) {
  const byPlace = (place: 'query' | 'header', others: fc.Arbitrary<string>) =>
    Object.fromEntries(
      parameters
        .filter((parameter) => parameter.in === place)
        .map(({ name, schema }) => [name, fc.oneof(valuesOf(schema, genuine) as fc.Arbitrary<string>, others)]),
    )
  const declared = fc
    .record(byPlace('query', secrets), { requiredKeys: [] })
    .map((query) => `${new URLSearchParams(query as Record<string, string>)}`)
  const url = fc.oneof(declared, fc.webQueryParameters()).map((query) => (query ? `${path}?${query}` : path))

  const names = ['accept', 'content-encoding', 'cookie', 'if-none-match', 'origin', 'range', 'x-forwarded-for']
  const headers = fc.record(
    {
      ...Object.fromEntries(names.map((name) => [name, headerTexts])),
      ...byPlace('header', headerTexts),
      authorization: genuine.authorization as fc.Arbitrary<string>,
      'content-type': fc.oneof(
        { weight: 6, arbitrary: fc.constant('application/json') },
        fc.constantFrom(...STRANGE_TYPES),
        headerTexts,
      ),
    },
    { requiredKeys: [] },
  )
  return { url, headers, body: requestBody ? bodiesOf(requestBody, genuine) : fc.constant(undefined) }
}

function bodiesOf({ content }: Content, genuine: Values): fc.Arbitrary<string | undefined> {
  const schema = content?.['application/json'].schema as Schema
  const valid = valuesOf(schema, genuine)
  const names = [...STRANGE_NAMES, ...(schema.anyOf ?? []).flatMap(({ properties = {} }) => Object.keys(properties))]
  const nearly = fc
    .tuple(valid, fc.dictionary(fc.constantFrom(...names), fc.jsonValue()))
    .map(([value, changes]) => ({ ...(value as object), ...changes }))
  return fc.oneof(
    valid.map((value) => JSON.stringify(value)),
    nearly.map((value) => JSON.stringify(value)),
    fc.json(),
    fc.string({ unit: 'binary' }),
    fc.constant(undefined),
  )
}

/** What the schema allows, of which some is known to be genuine. */
function valuesOf(schema: Schema, genuine: Values): fc.Arbitrary<unknown> {
  const { type, anyOf, properties = {}, required = [], pattern } = schema
  if (anyOf) return fc.oneof(...anyOf.map((one) => valuesOf(one, genuine)))
  if (schema.enum) return fc.constantFrom(...schema.enum)
  if (type === 'null') return fc.constant(null)
  if (type === 'string') return pattern ? fc.stringMatching(new RegExp(pattern)) : secrets
  if (type !== 'object') return fc.oneof(fc.jsonValue(), secrets)
  const fields = Object.entries(properties).map(([name, one]) => [name, genuine[name] ?? valuesOf(one, genuine)])
  return fc.record(Object.fromEntries(fields) as Values, { requiredKeys: required })
}

/** The document has its status and form for that operation, and it is no fault of ours. A proxy refuses as it likes. */
function assertDeclared({ own }: Target, { responses }: Operation, { status, body }: Answer): void {
  if (!own && status >= 400 && status < 500 && body === undefined) return
  const declared = responses[status] ?? responses[`${Math.floor(status / 100)}XX`]
  assert.ok(declared && status !== 500, `${status} ${JSON.stringify(body)}`)
  const schema = declared.content?.['application/json'].schema
  const isDeclared = schema ? Value.Check(schema as TSchema, body) : body === undefined
  assert.ok(isDeclared, `${status} ${JSON.stringify(body)}`)
}
