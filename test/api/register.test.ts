/** Registration: the answer, the rules for emails and passwords, and one account for one email. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { assertRefused, assertSecurityHeaders } from '../support/answers.ts'
import { me, newCredentials, startServer } from '../support/server.ts'

const server = await startServer()
const register = (body: unknown) => server.call('POST', '/auth/register', { body })
const logIn = (body: unknown) => server.call('POST', '/auth/login', { body })

suite('registering', () => {
  test('answers 201 with the new user and nothing else', async () => {
    const { email, password } = newCredentials()
    const answer = await register({ email, password })
    assert.equal(answer.status, 201)
    assert.deepEqual(answer.body, { id: answer.body.id, email, email_verified: false })
    assert.match(answer.body.id, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
    assert.equal(answer.headers.get('cache-control'), 'no-store')
    assertSecurityHeaders(answer)
  })

  test('ignores unknown fields, even those named like a column', async () => {
    const credentials = newCredentials()
    const id = '00000000-0000-4000-8000-000000000000'
    const hash = '$2b$04$......................................................'
    const extra = { id, email_verified: true, password_hash: hash, role: 'admin', created_at: 0, token: {} }
    const answer = await register({ ...extra, ...credentials })
    assert.deepEqual([answer.status, answer.body.email_verified], [201, false])
    assert.notEqual(answer.body.id, id)
    const login = await logIn(credentials)
    assert.deepEqual((await me(server, login.body.access_token)).body, answer.body)
  })
})

suite('an email', () => {
  const local = newCredentials().email.split('@')[0] as string
  const longest = `${local}@${'a'.repeat(254 - local.length - 5)}.com`

  for (const [email, what] of [
    [`${local}@b.co`, 'short'],
    [`${local}.B+c_d'e/f=!@Sub-1.Example.org`, 'with all sorts of ASCII signs'],
    [longest, 'of 254 characters'],
  ] as const)
    test(`${what} is taken, in lower case`, async () => {
      const answer = await register({ ...newCredentials(), email })
      assert.deepEqual([answer.status, answer.body.email], [201, email.toLowerCase()])
    })

  for (const [email, what] of [
    ['', 'that is empty'],
    ['   ', 'of spaces'],
    ['nobody', 'without @'],
    ['@example.com', 'without a name'],
    ['nobody@', 'without a domain'],
    ['nobody@example', 'without a dot in the domain'],
    ['no.body@example', 'with a dot in the name alone'],
    ['no@body@example.com', 'with two @'],
    ['nobody@@example.com', 'with a double @'],
    ['nobody@.com', 'whose domain begins with a dot'],
    ['nobody@example.', 'whose domain ends with a dot'],
    ['nobody@example..com', 'with two dots in a row in the domain'],
    ['no body@example.com', 'with a space'],
    ['nobody@exam\nple.com', 'with a line feed'],
    ['nobody\0@example.com', 'with a NUL'],
    ['niño@example.com', 'that is not ASCII'],
    ['İ@example.com', 'with a capital that has no lower case in ASCII'],
    ['ı@example.com', 'with a small letter whose capital is in ASCII'],
    ['nobody@bücher.example', 'with a domain that is not ASCII'],
    ['nobody\uff20example.com', 'with a full-width @'],
    [longest.replace('@', '@a'), 'of 255 characters'],
  ] as const)
    test(`${what} is refused`, async () => {
      const answer = await register({ ...newCredentials(), email })
      assertRefused(answer, 400, 'AUTH_BAD_REQUEST')
      assert.match(answer.body.error.message, /^email\b/)
    })

  test('loses the blanks around it before it is measured', async () => {
    const { email, password } = newCredentials()
    const answer = await register({ email: ` \t\n${email} ${' '.repeat(300)}`, password })
    assert.deepEqual([answer.status, answer.body.email], [201, email])
    assert.equal((await logIn({ email: `  ${email}\n`, password })).status, 200)
  })

  test('is the same in any case, with blanks around it, and with a sign that Unicode takes for a letter', async () => {
    const { email, password } = newCredentials()
    const known = email.replace('example', 'kelvin')
    const { body: user } = await register({ email: known.toUpperCase(), password })
    assert.equal(user.email, known)
    const spelling = fc
      .tuple(fc.infiniteStream(fc.boolean()), fc.stringMatching(/^[ \t\r\n]{0,3}$/), fc.boolean())
      .map(([isUpper, blanks, isSign]) => {
        const letters = [...known].map((letter) => (isUpper.next().value ? letter.toUpperCase() : letter))
        return `${blanks}${letters.join('').replace(/k/i, isSign ? '\u212a' : '$&')}${blanks}`
      })
    await fc.assert(
      fc.asyncProperty(spelling, async (other) => {
        assertRefused(await register({ ...newCredentials(), email: other }), 409, 'AUTH_EMAIL_TAKEN')
        const { body: tokens } = await logIn({ email: other, password })
        assert.deepEqual((await me(server, tokens.access_token)).body, user)
      }),
      { numRuns: 20 },
    )
  })

  test('registered many times at once, in different case, belongs to exactly one of them', async () => {
    const { email, password } = newCredentials()
    const spellings = Array.from(
      { length: 16 },
      (_, length) => email.slice(0, length).toUpperCase() + email.slice(length),
    )
    const bodies = spellings.map((spelling, index) => ({ email: spelling, password: `${password}${index}` }))
    const answers = await Promise.all(bodies.map(register))
    assert.equal(answers.filter(({ status }) => status === 201).length, 1)
    for (const answer of answers.filter(({ status }) => status !== 201)) assertRefused(answer, 409, 'AUTH_EMAIL_TAKEN')
    const logins = await Promise.all(bodies.map(logIn))
    assert.deepEqual(
      logins.map(({ status }) => status === 200),
      answers.map(({ status }) => status === 201),
      'only the password that won',
    )
  })
})

suite('a password', () => {
  for (const [password, what] of [
    ['zk4wqv9t', 'of 8 characters'],
    ['𝒶𝒷𝒸𝒹𝑒𝒻𝑔1', 'of 8 characters outside the basic plane'],
    ['пароль и 7 слов', 'in another alphabet'],
    [`${'z'.repeat(71)}1`, 'of 72 bytes'],
    [`${'é'.repeat(35)}z1`, 'of 72 bytes in fewer characters'],
    [`${'e\u0301'.repeat(35)}z1`, 'that is 72 bytes once it is composed'],
    ['  4 blanks around  ', 'with blanks around it'],
  ] as const)
    test(`${what} is accepted, and logs in as it was chosen`, async () => {
      const { email } = newCredentials()
      assert.equal((await register({ email, password })).status, 201)
      assert.equal((await logIn({ email, password })).status, 200)
      assertRefused(await logIn({ email, password: password.slice(0, -1) }), 401, 'AUTH_INVALID_CREDENTIALS')
    })

  const { email } = newCredentials()
  for (const [password, what, rule] of [
    ['', 'that is empty', /8 characters/],
    ['zk4wqv9', 'of 7 characters', /8 characters/],
    ['𝒶𝒷𝒸𝒹1', 'of 5 characters that take 18 bytes', /8 characters/],
    ['zkfwqvjt', 'without a digit', /digit/],
    ['83920174658', 'without a letter', /letter/],
    ['password123', 'that is common', /common/],
    ['Trustno1', 'that is common in another case', /common/],
    [email, 'equal to the email', /email/],
    [email.toUpperCase(), 'equal to the email in another case', /email/],
    [`${'z'.repeat(72)}1`, 'of 73 bytes', /72 bytes/],
    [`${'é'.repeat(36)}1`, 'of 73 bytes in 37 characters', /72 bytes/],
    ['zk4wqv9t\0', 'with a NUL', /NUL/],
    ['zk4wqv9t\ud800', 'with half a surrogate pair', /Unicode/],
  ] as const)
    test(`${what} is refused`, async () => {
      const answer = await register({ email, password })
      assertRefused(answer, 400, 'AUTH_BAD_REQUEST')
      assert.match(answer.body.error.message, /^password\b/)
      assert.match(answer.body.error.message, rule)
    })

  for (const [chosen, typed, what] of [
    ['A\u030angstro\u0308m 1', '\u00c5ngstr\u00f6m 1', 'composed'],
    ['\u00c5ngstr\u00f6m 1', 'A\u030angstro\u0308m 1', 'decomposed'],
    ['\u212bngstr\u00f6m 1', '\u00c5ngstr\u00f6m 1', 'with the letter for the sign'],
  ] as const)
    test(`is the same when the keyboard sends it ${what}`, async () => {
      const { email } = newCredentials()
      assert.equal((await register({ email, password: chosen })).status, 201)
      assert.equal((await logIn({ email, password: typed })).status, 200)
    })

  test('of 72 bytes is told from one that differs in the last of them', async () => {
    const { email } = newCredentials()
    assert.equal((await register({ email, password: `1${'z'.repeat(71)}` })).status, 201)
    const other = await logIn({ email, password: `1${'z'.repeat(70)}y` })
    assertRefused(other, 401, 'AUTH_INVALID_CREDENTIALS')
  })
})
