/** What lies in the pool, by looking. */
import { open, readdir, stat } from 'node:fs/promises'
import { asId, type Bytes, isUuid, type LayerId } from '../../../domain/ids.ts'
import { refuse } from '../../../domain/refusals.ts'
import type { FoundLayer, Survey } from '../../../ports/storage-driver.ts'
import { recordWhilePushed } from '../merged-records.ts'
import { exists, isMissing, readIfThere } from './durable.ts'
import { type Qcow2Header, readHeader } from './header.ts'
import { blankFile, layerOfFile, type PoolFiles, poolEntries } from './pool-files.ts'
import { readRecordFile } from './record.ts'

const ownClusterBytes = 65_536
const passing = /\.(qcow2|json|pushing)(\.tmp)?$/

/** The header of one of our own layers; null when there is no such file, or none that can be read. */
export async function headerOf(path: string): Promise<Qcow2Header | null> {
  try {
    await using file = await open(path, 'r')
    const { buffer, bytesRead } = await file.read(Buffer.alloc(ownClusterBytes), 0, ownClusterBytes, 0)
    const header = readHeader(buffer.subarray(0, bytesRead))
    return 'problem' in header ? null : header
  } catch (error) {
    if (isMissing(error)) return null
    throw error
  }
}

/** Whether no table of the image leads to anything of its own. One that was written and discarded counts as not empty. */
export async function isEmptyImage(path: string): Promise<boolean> {
  const header = await headerOf(path)
  if (header === null) throw refuse.hostFailure({ what: 'the layer asked about is not there' })
  await using file = await open(path, 'r')
  const { buffer, bytesRead } = await file.read(Buffer.alloc(header.l1Entries * 8), 0, header.l1Entries * 8, header.l1Offset)
  return buffer.subarray(0, bytesRead).every((byte) => byte === 0)
}

export async function allocatedBytes(path: string): Promise<Bytes> {
  try {
    return (await stat(path)).blocks * 512
  } catch (error) {
    if (isMissing(error)) return 0
    throw error
  }
}

async function found(files: PoolFiles, layer: LayerId): Promise<FoundLayer> {
  const path = files.layer(layer)
  const header = await headerOf(path)
  return {
    layer,
    record: await readRecordFile(files, layer),
    sizeBytes: header?.sizeBytes ?? 0,
    allocatedBytes: await allocatedBytes(path),
    backing: header?.backingFile ? layerOfFile(header.backingFile) : null,
  }
}

/** While a layer is pushed down both it and the one below may claim to be the same; its file decides who is. */
async function settlePushes(files: PoolFiles, layers: FoundLayer[], names: readonly string[]): Promise<FoundLayer[]> {
  const pushed = names.filter((name) => name.endsWith('.pushing')).map((name) => asId<LayerId>(name.slice(0, 36)))
  const into = new Set<LayerId>()
  for (const layer of pushed) {
    if (!(await exists(files.layer(layer)))) continue
    const merge: { lower?: LayerId } = JSON.parse((await readIfThere(files.pushing(layer))) ?? '{}')
    if (merge.lower !== undefined) into.add(merge.lower)
  }
  return layers.map((layer) =>
    layer.record !== null && into.has(layer.layer) ? { ...layer, record: recordWhilePushed(layer.record) } : layer,
  )
}

export async function surveyPool(files: PoolFiles): Promise<Survey> {
  const names = await readdir(files.layers)
  const idOf = (name: string): LayerId | null => (isUuid(name.slice(0, 36)) ? asId<LayerId>(name.slice(0, 36)) : null)
  const ours = names.filter((name) => idOf(name) !== null && passing.test(name) && name.indexOf('.') === 36)
  const present = ours.filter((name) => name.length === 36 + '.qcow2'.length && name.endsWith('.qcow2'))
  const layers = await Promise.all(present.map((name) => found(files, asId<LayerId>(name.slice(0, 36)))))
  const whole = new Set(layers.map(({ layer }) => layer))
  const unfinished = new Set(ours.map((name) => asId<LayerId>(name.slice(0, 36))).filter((layer) => !whole.has(layer)))
  const foreign = [
    ...(await readdir(files.directory)).filter((name) => !poolEntries.includes(name)),
    ...names.filter((name) => !ours.includes(name) && !name.startsWith(blankFile)).map((name) => `layers/${name}`),
    ...(await readdir(files.blobs)).filter((name) => !isUuid(name.slice(0, 36))).map((name) => `blobs/${name}`),
  ]
  return { layers: await settlePushes(files, layers, names), unfinished: [...unfinished], foreign: foreign.sort() }
}
