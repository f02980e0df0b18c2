/** Where an uploaded image goes: the incoming space of the pool that it will be imported to. */
import { randomUUID } from 'node:crypto'
import type { Readable } from 'node:stream'
import type { PoolId } from '../domain/ids.ts'
import { refuse } from '../domain/refusals.ts'
import type { Uploads } from '../ports/host-agent.ts'
import type { Db } from '../ports/tables.ts'
import { defaultPool } from './commands/volumes.ts'

export type ReceivedUpload = {
  readonly name: string
  readonly sizeBytes: number
  readonly md5: string
  readonly sha512: string
}

export const receiveUploads =
  (db: Db, uploads: (pool: PoolId) => Uploads) =>
  async (data: Readable, limit: number): Promise<ReceivedUpload> => {
    const pool = await defaultPool(db)
    const name = `upload-${randomUUID()}`
    return { name, ...(await uploads(pool).upload(pool, name, limited(data, limit))) }
  }

async function* limited(data: Readable, limit: number): AsyncGenerator<Uint8Array> {
  let received = 0
  for await (const chunk of data as AsyncIterable<Uint8Array>) {
    received += chunk.byteLength
    if (received > limit) throw refuse.tooLarge({ limit })
    yield chunk
  }
}
