/** Generates contract/openapi.json from the route schemas: `npm run openapi`. */
import { writeFile } from 'node:fs/promises'
import swagger from '@fastify/swagger'
import Fastify from 'fastify'
import { registerAuthRoutes } from '../src/api/auth.ts'
import { registerJwksRoute } from '../src/api/jwks.ts'
import { loadConfig } from '../src/config.ts'
import type { AuthContext } from '../src/service/auth.ts'

/** The routes are registered, but never called, so that they need neither keys nor a database. */
export async function generateOpenApi(): Promise<string> {
  const app = Fastify()
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Cerrojo', version: '3.2-mini', description: 'Generated from the route schemas.' },
      components: { securitySchemes: { accessToken: { type: 'http', scheme: 'bearer' } } },
    },
  })
  const context = { config: loadConfig({}) } as AuthContext
  registerAuthRoutes(app, context)
  registerJwksRoute(app, context)
  await app.ready()
  const document = JSON.stringify(app.swagger(), null, 2)
  await app.close()
  return `${document}\n`
}

if (import.meta.main) await writeFile(new URL('../contract/openapi.json', import.meta.url), await generateOpenApi())
