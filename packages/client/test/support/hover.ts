/** What an editor shows of the package's types. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript-5'

/** The documentation of each member of one of the package's types, '' for none, as installed in the folder. */
export function documentationIn(folder: string, type: string): { member: string; text: string }[] {
  const path = join(folder, 'hover.ts')
  writeFileSync(path, `export type It = import('@cerrojo/client').${type}`)
  const program = ts.createProgram([path], { module: ts.ModuleKind.NodeNext, lib: ['lib.es2022.d.ts'], types: [] })
  const checker = program.getTypeChecker()
  const it = checker.getTypeAtLocation(program.getSourceFile(path)?.statements[0] as ts.Statement)
  return it.getProperties().map((member) => ({
    member: member.name,
    text: ts.displayPartsToString(member.getDocumentationComment(checker)),
  }))
}
