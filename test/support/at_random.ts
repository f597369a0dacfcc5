/** Properties that are tried at random, and tell how often, for `npm run prove`. */
import type { TestContext } from 'node:test'
import fc from 'fast-check'

export async function tryAtRandom<Values>(
  context: TestContext,
  property: fc.IAsyncProperty<Values>,
  numRuns: number,
): Promise<void> {
  await fc.assert(property, { numRuns })
  context.diagnostic(`${numRuns} sequences at random`)
}
