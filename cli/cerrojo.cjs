#!/usr/bin/env node
/** The command `cerrojo`, on a Node that can run it. */
'use strict'
const fs = require('node:fs')
const path = require('node:path')
const { run } = require('../scripts/run.cjs')

const compiled = path.join(__dirname, 'cerrojo.js')
const program = fs.existsSync(compiled) ? compiled : path.join(__dirname, 'cerrojo.ts')
const options = ['--max-semi-space-size=4', '--disable-warning=ExperimentalWarning'] // SQLite's, on Node 22 and 24
run(options.concat(program, process.argv.slice(2)))
