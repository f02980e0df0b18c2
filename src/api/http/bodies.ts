/** Bodies: our own JSON parser, data streams left as they are, everything else refused. */
import type { FastifyInstance } from 'fastify'
import type { z } from 'zod'
import { refuse } from '../../domain/refusals.ts'

export const bodyLimit = 1024 * 1024

export function acceptBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  for (const type of ['application/json', /^application\/openstack-images-v2\.[01]-json-patch$/])
    app.addContentTypeParser(type, { parseAs: 'string' }, async (_request: unknown, text: string | Buffer) =>
      parseJson(String(text)),
    )
  app.addContentTypeParser('application/octet-stream', async (_request: unknown, payload: unknown) => payload)
  // Clients send a type they do not mean along with no body at all.
  app.addContentTypeParser('*', { parseAs: 'string' }, async (_request: unknown, text: string | Buffer) => {
    if (text.length > 0) throw refuse.unsupportedMedia()
    return undefined
  })
}

/** Nothing for an empty body. Refused: what PostgreSQL cannot store as text, and keys that would change an object's prototype. */
export function parseJson(text: string): unknown {
  if (text.trim() === '') return undefined
  try {
    return JSON.parse(text, (key, value: unknown) => {
      if (key === '__proto__') throw refuse.malformed({ why: 'The key __proto__ is not allowed.' })
      refuseUnstorable(key)
      if (typeof value === 'string') refuseUnstorable(value)
      return value
    })
  } catch (error) {
    if (error instanceof SyntaxError) throw refuse.malformed({ why: 'Malformed request body: it is not JSON.' })
    if (error instanceof RangeError) throw refuse.malformed({ why: 'Malformed request body: it is nested too deeply.' })
    throw error
  }
}

function refuseUnstorable(text: string): void {
  if (text.includes('\0') || !text.isWellFormed())
    throw refuse.malformed({ why: 'Text may not contain NUL characters or halves of surrogate pairs.' })
}

/** Throws a ZodError, which answers as 400 in the face's own envelope. */
export const read = <Schema extends z.ZodType>(schema: Schema, value: unknown): z.infer<Schema> => schema.parse(value)
