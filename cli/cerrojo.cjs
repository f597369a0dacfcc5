#!/usr/bin/env node
/** The command `cerrojo`, on a Node that can run it. */
'use strict'
const path = require('node:path')
const { run } = require('../scripts/run.cjs')

run([path.join(__dirname, 'cerrojo.ts')].concat(process.argv.slice(2)))
