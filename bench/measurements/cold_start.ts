/** From the start of the process to its first 200, with keys and schema there, and what Node has compiled before. */
import type { Stage } from '../support/stage.ts'

export async function measureColdStart(stage: Stage): Promise<number[]> {
  const databaseUrl = await stage.createDatabase('cold_start')
  await (await stage.startModule(databaseUrl)).stop()
  const milliseconds: number[] = []
  const rounds = stage.isQuick ? 3 : 11
  for (let round = 1; round <= rounds; round++) {
    const startedAtMs = performance.now()
    const server = await stage.startModule(databaseUrl)
    const answer = await fetch(`${server.url}/.well-known/jwks.json`)
    if (answer.status !== 200) throw new Error(`The first answer was ${answer.status}`)
    milliseconds.push(performance.now() - startedAtMs)
    await server.stop()
    stage.progress(`cold start ${round}/${rounds}: ${milliseconds.at(-1)?.toFixed(0)} ms`)
  }
  return milliseconds
}
