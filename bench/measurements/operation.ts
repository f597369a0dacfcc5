/** What an operator meets: crowds, a second node, the purge, an import, and what the module takes at rest. */
import type { Stage } from '../support/stage.ts'
import { measureCrowd } from './crowd.ts'
import { measureFootprint } from './footprint.ts'
import { measureBytesASession } from './growth.ts'
import type { Installed } from './installed.ts'
import { measurePurgeAndImport } from './purge_and_import.ts'
import { measureTwoNodes } from './two_nodes.ts'

export type Operation = Awaited<ReturnType<typeof measureOperation>>

export async function measureOperation(stage: Stage, installed: Installed[]) {
  return {
    installed,
    bytesASession: await measureBytesASession(stage),
    crowd: await measureCrowd(stage),
    twoNodes: await measureTwoNodes(stage),
    purgeAndImport: await measurePurgeAndImport(stage),
    footprint: await measureFootprint(stage),
  }
}
