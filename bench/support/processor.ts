/** Processor time by the kernel's accounting: /proc/<pid>/stat, see proc_pid_stat(5). */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'

export const CORES = availableParallelism()
const TICKS_PER_SECOND = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))

interface ProcessTimes {
  parentId: number
  /** Its own, user and system, and that of its children which have ended. */
  ticks: number
}

/** Of these processes and of all their descendants, whether they still run or have ended. */
export function processorMicroseconds(processIds: number[]): number {
  const all = readAllTimes()
  const isCounted = (id: number | undefined): boolean =>
    id !== undefined && (processIds.includes(id) || isCounted(all.get(id)?.parentId))
  const ticks = [...all].filter(([id]) => isCounted(id)).reduce((sum, [, times]) => sum + times.ticks, 0)
  return (ticks / TICKS_PER_SECOND) * 1e6
}

/** Of this one process, without its descendants; in mebibytes. */
export function residentMebibytes(processId: number): number {
  return statusMebibytes(processId, 'VmRSS')
}

/** What of that is mapped from files, above all from Node's own, and shared by all processes that run it. */
export function sharedMebibytes(processId: number): number {
  return statusMebibytes(processId, 'RssFile')
}

function statusMebibytes(processId: number, name: 'VmRSS' | 'RssFile'): number {
  const status = readFileSync(`/proc/${processId}/status`, 'utf8')
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) / 1024
}

function readAllTimes(): Map<number, ProcessTimes> {
  const all = new Map<number, ProcessTimes>()
  for (const name of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const text = readFileSync(`/proc/${name}/stat`, 'utf8')
      // The second field is a name in brackets that may hold anything; fields 14 to 17 are utime, stime, cutime,
      // cstime.
      const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
      const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0)
      all.set(Number(name), { parentId: Number(fields[1]), ticks })
    } catch {} // it ended since the folder was listed, and its time has gone to its parent
  }
  return all
}
