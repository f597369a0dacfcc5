/**
 * The load generator, a process of its own: closed loop (each connection sends its next request when it has its answer)
 * or open loop (requests leave at a steady rate, and latency counts from the moment at which each was to be sent).
 */
import { connect } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { Pool } from 'undici'
import { serveTasks } from '../support/children.ts'
import { percentile } from '../support/statistics.ts'
import type { Latency, Load, LoadResult } from './load.ts'
import { createOperation, type Exchange } from './operations.ts'

const TICK_MS = 1
const TIMELINE_STEP_MS = 1000
const ERROR_SAMPLES = 3

serveTasks<Load>(async (load, begin) => {
  const pool = new Pool(load.url, { connections: load.connections, pipelining: 1 })
  const next = createOperation(load.operation)
  const samples = { latencyMs: [] as number[], sentAtMs: [] as number[], refusalMs: [] as number[] }
  const counts = { errors: 0, underWay: 0 }
  const errorSamples: string[] = []
  let isMeasuring = load.warmUpSeconds === 0
  let isOver = false

  async function send(exchange: Exchange, intendedAtMs: number): Promise<void> {
    counts.underWay++
    const problem = await answerTo(exchange).catch((error) => `${error.code ?? ''} ${error.message}`)
    counts.underWay--
    exchange.finish?.()
    // What counts is when the answer comes. A wrong one counts even during the warm-up; none is forgiven.
    if (isOver) return
    const elapsedMs = performance.now() - intendedAtMs
    if (problem === 'refused') {
      if (isMeasuring) samples.refusalMs.push(elapsedMs)
    } else if (problem !== undefined) {
      counts.errors++
      if (errorSamples.length < ERROR_SAMPLES) errorSamples.push(problem)
    } else if (isMeasuring) {
      samples.latencyMs.push(elapsedMs)
      samples.sentAtMs.push(intendedAtMs)
    }
  }

  async function answerTo({ bytes, method, path, headers, body, check }: Exchange): Promise<string | undefined> {
    if (bytes !== undefined) {
      const text = await exchangeBytes(new URL(load.url), bytes)
      return check(Number(text.split(' ')[1]), text, {})
    }
    const answer = await pool.request({ method, path, headers, body: body ?? null })
    return check(answer.statusCode, await answer.body.text(), answer.headers)
  }

  async function closedLoop(isEnough: () => boolean): Promise<void> {
    const connection = async () => {
      while (!isEnough()) {
        const exchange = next()
        if (!exchange) return
        await send(exchange, performance.now())
      }
    }
    await Promise.all(Array.from({ length: load.connections }, connection))
  }

  async function openLoop(isEnough: () => boolean, ratePerSecond: number): Promise<void> {
    let intendedAtMs = performance.now()
    while (!isEnough()) {
      for (; intendedAtMs <= performance.now(); intendedAtMs += 1000 / ratePerSecond) {
        const exchange = next()
        if (exchange) void send(exchange, intendedAtMs)
        else counts.errors++ // every session is under way: a request that cannot even be sent
      }
      await pause(TICK_MS)
    }
  }

  const loop = load.ratePerSecond
    ? (isEnough: () => boolean) => openLoop(isEnough, load.ratePerSecond as number)
    : closedLoop
  const warmUpEndsAtMs = performance.now() + load.warmUpSeconds * 1000
  if (!isMeasuring) await loop(() => performance.now() >= warmUpEndsAtMs)

  isMeasuring = true
  begin()
  const beganAtMs = performance.now()
  const endsAtMs = beganAtMs + load.seconds * 1000
  const hasCount = () => samples.latencyMs.length + counts.underWay >= (load.count ?? Number.POSITIVE_INFINITY)
  await loop(() => performance.now() >= endsAtMs || hasCount())
  const elapsedSeconds = (performance.now() - beganAtMs) / 1000
  const done = samples.latencyMs.length
  const drainEndsAtMs = performance.now() + (load.drainSeconds ?? 0) * 1000
  while (counts.underWay > 0 && performance.now() < drainEndsAtMs) await pause(10)
  isOver = true
  const unanswered = counts.underWay
  await pool.destroy()

  return {
    done,
    refused: samples.refusalMs.length,
    errors: counts.errors,
    errorSamples,
    unanswered,
    elapsedSeconds,
    latencyMs: latencyOf(samples.latencyMs),
    refusalMs: latencyOf(samples.refusalMs),
    timeline: timelineOf(samples, beganAtMs, load.seconds),
  } satisfies LoadResult
})

/** @returns all that the server says before it closes the connection */
function exchangeBytes({ hostname, port }: URL, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    const socket = connect(Number(port), hostname, () => socket.write(bytes))
    socket.setEncoding('latin1').on('data', (chunk) => {
      text += chunk
    })
    socket.once('end', () => {
      socket.resetAndDestroy() // or the system would keep thousands of ports waiting
      resolve(text)
    })
    socket.once('error', reject)
  })
}

function latencyOf(values: number[]): Latency {
  const sorted = Float64Array.from(values).sort()
  return { p50: percentile(sorted, 50), p99: percentile(sorted, 99), most: sorted.at(-1) ?? Number.NaN }
}

function timelineOf(
  { latencyMs, sentAtMs }: { latencyMs: number[]; sentAtMs: number[] },
  beganAtMs: number,
  seconds: number,
): LoadResult['timeline'] {
  const steps: number[][] = Array.from({ length: Math.ceil((seconds * 1000) / TIMELINE_STEP_MS) }, () => [])
  for (const [index, sentAt] of sentAtMs.entries())
    steps[Math.floor((sentAt - beganAtMs) / TIMELINE_STEP_MS)]?.push(latencyMs[index] as number)
  return steps.map((values) => {
    const { p50, p99 } = latencyOf(values)
    return { p50, p99, done: values.length }
  })
}
