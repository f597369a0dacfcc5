#!/usr/bin/env node
/**
 * Runs a program on a Node that can run Cerrojo: `node scripts/run.cjs [Node's options] program.ts [arguments]`.
 * Written so that any Node reads it, as it is the older ones that need it: npm up to 11.3 deletes the link to the Node
 * that it installed (npm/cli#4362), and on some systems that one is there and cannot run.
 */
'use strict'
const { spawn, spawnSync } = require('node:child_process')
const path = require('node:path')
const { engines } = require('../package.json')

/** Here the first that has `import.meta.main`, and runs TypeScript without a flag; compiled, an older one will do. */
const LEAST_VERSION = engines.node.replace('>=', '').split('.').map(Number)
const PARENT_CHECK_MS = 250
/** Where Node keeps what it has compiled: with it the next start is a third quicker, and takes 20 MiB less. */
const COMPILE_CACHE = path.join(__dirname, '..', 'node_modules', '.cache')

function isNewEnough(version) {
  const numbers = version.replace(/^v/, '').split('.').map(Number)
  return numbers[0] > LEAST_VERSION[0] || (numbers[0] === LEAST_VERSION[0] && numbers[1] >= LEAST_VERSION[1])
}

/** The Node that the optional dependencies brought for this platform, or undefined where there is none that runs. */
function findPinnedNode() {
  const platform = process.platform.replace('win32', 'win')
  const isMacArm = platform === 'darwin' && process.arch === 'arm64'
  const name = `node-${isMacArm ? 'bin-' : ''}${platform}-${process.arch}`
  const file = platform === 'win' ? 'node.exe' : 'node'
  const pinned = path.join(__dirname, '..', 'node_modules', name, 'bin', file)
  const answer = spawnSync(pinned, ['--version'], { encoding: 'utf8' })
  return answer.status === 0 && isNewEnough(answer.stdout.trim()) ? pinned : undefined
}

function run(args) {
  const node = isNewEnough(process.versions.node) ? process.execPath : findPinnedNode()
  if (node === undefined) {
    const wanted = `Cerrojo needs Node ${LEAST_VERSION.join('.')} or newer`
    const found = `this is Node ${process.versions.node}, and npm has installed none here that runs`
    console.error(`${wanted}, but ${found}. Install a newer one from https://nodejs.org, or run npm ci again.`)
    process.exit(1)
  }

  // Programs that this one starts find the same Node by its name.
  const pathName = Object.keys(process.env).find((name) => name.toUpperCase() === 'PATH') || 'PATH'
  const searchPath = [path.dirname(node), process.env[pathName] || ''].join(path.delimiter)
  const env = Object.assign({ NODE_COMPILE_CACHE: COMPILE_CACHE }, process.env, { [pathName]: searchPath })
  const child = spawn(node, args, { stdio: 'inherit', env })

  const pass = (signal) => child.kill(signal)
  // A terminal sends its SIGINT to both; the program must not take a second one for impatience.
  process.on('SIGINT', () => process.stdin.isTTY || pass('SIGINT'))
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, pass)

  // npm ends its shell, which passes nothing on. Without npm a program may outlive the shell that started it.
  const parent = process.ppid
  if (process.env.npm_lifecycle_event) {
    const check = setInterval(() => {
      if (process.ppid === parent) return
      clearInterval(check)
      pass('SIGTERM')
    }, PARENT_CHECK_MS)
  }

  child.on('error', (error) => {
    console.error(`${node} could not be started: ${error.message}`)
    process.exit(1)
  })
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code)
    process.removeAllListeners(signal)
    process.kill(process.pid, signal)
  })
}

module.exports = { run }
if (require.main === module) run(process.argv.slice(2))
