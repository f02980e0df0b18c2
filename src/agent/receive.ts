/** Stores what a controller passes on, durably, and measures it on the way. */
import { createHash } from 'node:crypto'
import { open, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { isFull, sync } from '../adapters/storage/qcow2/durable.ts'
import { refuse } from '../domain/refusals.ts'
import type { Received } from '../ports/host-agent.ts'
import type { LocalPool } from './machines/environment.ts'

export async function receive(pool: LocalPool, name: string, data: AsyncIterable<Uint8Array>): Promise<Received> {
  const directory = join(pool.directory, 'incoming')
  const passing = join(directory, `${name}.part`)
  const hashes = { md5: createHash('md5'), sha512: createHash('sha512') }
  let sizeBytes = 0
  try {
    await using file = await open(passing, 'w', 0o600)
    for await (const chunk of data) {
      hashes.md5.update(chunk)
      hashes.sha512.update(chunk)
      sizeBytes += chunk.length
      await file.write(chunk)
    }
    await file.datasync()
  } catch (error) {
    throw isFull(error) ? refuse.poolFull({ pool: pool.name }) : error
  }
  await rename(passing, join(directory, name))
  await sync(directory)
  return { sizeBytes, md5: hashes.md5.digest('hex'), sha512: hashes.sha512.digest('hex') }
}
