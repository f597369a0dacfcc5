/** What any program sees of the database behind the proxy: one write after the other, each over a new connection. */
import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'

const PAUSE_MS = 200
const PATIENCE_MS = 1000

export interface Probe {
  /** When writes were answered. */
  timesMs: number[]
  stop(): Promise<void>
}

/** @param url of a database that has a table `probes` */
export function startProbe(url: string): Probe {
  const timesMs: number[] = []
  let goesOn = true
  async function run(): Promise<void> {
    while (goesOn) {
      if (await write(url)) timesMs.push(performance.now())
      await pause(PAUSE_MS)
    }
  }
  const ended = run()
  return {
    timesMs,
    stop: () => {
      goesOn = false
      return ended
    },
  }
}

async function write(connectionString: string): Promise<boolean> {
  const options = { connectionString, connectionTimeoutMillis: PATIENCE_MS, query_timeout: PATIENCE_MS }
  const client = new pg.Client(options)
  client.on('error', () => {})
  try {
    await client.connect()
    await client.query('insert into probes default values')
    return true
  } catch {
    return false
  } finally {
    client.end() // without waiting, as nobody answers from behind a cut
  }
}

/** The longest time between two successes, in seconds with one decimal. */
export function longestGap(timesMs: number[]): number {
  const gaps = timesMs.slice(1).map((timeMs, index) => timeMs - (timesMs[index] as number))
  return Math.round(Math.max(0, ...gaps) / 100) / 10
}
