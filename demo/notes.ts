/**
 * A server of somebody else: it keeps a list of notes for each user, and knows of logins only what a token tells it.
 */
import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { json } from 'node:stream/consumers'
import type { Verifier } from '../packages/verifier/src/index.ts'
import { requireToken } from '../packages/verifier/src/node.ts'

interface Note {
  id: string
  text: string
}

const MAX_NOTES = 50
const MAX_NOTE_LENGTH = 200
const MAX_BODY_BYTES = 4096

export function createNotesServer(verifier: Pick<Verifier, 'verify'>): Server {
  /** By user id, newest first; gone when the demo stops. */
  const notesOf = new Map<string, Note[]>()

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const auth = await requireToken(verifier, request, response)
    if (!auth) return // refused, and answered
    const listNotes = () => notesOf.get(auth.userId) ?? []
    const [, id] = /^\/notes\/([\w-]+)$/.exec(request.url ?? '') ?? []

    switch (`${request.method} ${id && request.method === 'DELETE' ? '/notes/:id' : request.url}`) {
      case 'GET /notes/claims':
        return answer(response, 200, auth.claims)
      case 'GET /notes':
        return answer(response, 200, listNotes())
      case 'POST /notes': {
        const length = Number(request.headers['content-length']) // NaN without
        if (!(length <= MAX_BODY_BYTES)) return refuse(response, 413, 'A note must say its length, and be short.')
        const text = await readText(request)
        if (!text) return refuse(response, 400, `A note has 1 to ${MAX_NOTE_LENGTH} characters.`)
        const notes = listNotes() // not sooner: while this one was read another may have been added
        if (notes.length >= MAX_NOTES)
          return refuse(response, 409, `There is room for ${MAX_NOTES} notes: delete one first.`)
        const note = { id: randomUUID(), text }
        notesOf.set(auth.userId, [note, ...notes])
        return answer(response, 201, note)
      }
      case 'DELETE /notes/:id':
        notesOf.set(
          auth.userId,
          listNotes().filter((note) => note.id !== id),
        )
        return answer(response, 204)
      default:
        return refuse(response, 404, 'There is no such path.')
    }
  }

  return createServer((request, response) => {
    response.setHeader('x-content-type-options', 'nosniff')
    response.setHeader('cache-control', 'no-store')
    serve(request, response).catch((error: Error) => {
      console.error(`The notes server failed: ${error.message}`)
      response.destroy()
    })
  })
}

async function readText(request: IncomingMessage): Promise<string | undefined> {
  const body = (await json(request).catch(() => undefined)) as { text?: unknown } | undefined
  const text = typeof body?.text === 'string' ? body.text.trim() : ''
  return text.length <= MAX_NOTE_LENGTH ? text : undefined
}

function answer(response: ServerResponse, status: number, body?: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' })
  response.end(body && JSON.stringify(body))
}

function refuse(response: ServerResponse, status: number, message: string): void {
  answer(response, status, { error: { message } })
}
