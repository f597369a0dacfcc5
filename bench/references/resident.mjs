/** Tells what is resident as the module's packages are loaded one after the other, in mebibytes, as JSON. */
import { readFileSync } from 'node:fs'

const PACKAGES = ['fastify', 'typebox', 'typebox/value', 'pg', 'jose', 'rate-limiter-flexible', 'piscina']

function resident() {
  globalThis.gc()
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024
}

const steps = [{ what: 'Node, before anything is loaded', mebibytes: resident() }]
for (const name of PACKAGES) {
  await import(name)
  steps.push({ what: name, mebibytes: resident() })
}
console.log(JSON.stringify(steps))
