/**
 * better-auth on PostgreSQL with its defaults, except for three things: passwords by bcrypt at the module's cost,
 * no rate limits (the module's are off too), and no check whether an email is verified, which is its default as well.
 */
import { createServer } from 'node:http'
import bcrypt from 'bcrypt'
import { betterAuth } from 'better-auth'
import { getMigrations } from 'better-auth/db/migration'
import { toNodeHandler } from 'better-auth/node'
import pg from 'pg'

const ROUNDS = Number(process.env.ROUNDS)
const url = process.env.BASE_URL as string

const auth = betterAuth({
  baseURL: url,
  secret: process.env.SECRET as string,
  database: new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 }),
  rateLimit: { enabled: false },
  emailAndPassword: {
    enabled: true,
    password: {
      hash: (password) => bcrypt.hash(password, ROUNDS),
      verify: ({ password, hash }) => bcrypt.compare(password, hash),
    },
  },
})

const { runMigrations } = await getMigrations(auth.options)
await runMigrations()
const { hostname, port } = new URL(url)
createServer(toNodeHandler(auth)).listen(Number(port), hostname, () => console.log(`better-auth listens on ${url}`))
