/** A layer's record beside its file. */
import { z } from 'zod'
import { asId, type Id, isUuid, type LayerId } from '../../../domain/ids.ts'
import { consistencies } from '../../../domain/volume.ts'
import type { LayerRecord } from '../../../ports/storage-driver.ts'
import { readIfThere, writeDurably } from './durable.ts'
import type { PoolFiles } from './pool-files.ts'

const id = <T extends Id<string>>() =>
  z
    .string()
    .refine(isUuid)
    .transform((text) => asId<T>(text))
const bytes = z.number().int().nonnegative()

const volumeFacts = z.object({
  id: id<NonNullable<LayerRecord['volume']>['id']>(),
  generation: z.number().int(),
  name: z.string(),
  project: z.string(),
  sizeBytes: bytes,
  bootable: z.boolean(),
  instance: z
    .object({
      id: id<NonNullable<NonNullable<LayerRecord['volume']>['instance']>['id']>(),
      name: z.string(),
      device: z.string(),
    })
    .nullable(),
})

const pointRecord = z.object({
  point: id<LayerRecord['points'][number]['point']>(),
  generation: z.number().int(),
  sizeBytes: bytes,
  snapshots: z.array(
    z.object({
      id: z.string(),
      name: z.string(),
      kind: z.enum(['user', 'instance', 'safety', 'backup']),
      createdAt: z.string(),
      metadata: z.record(z.string(), z.string()),
      image: z.string().nullable(),
      consistency: z.enum(consistencies).nullish(),
      consistencyWhy: z.string().nullish(),
    }),
  ),
})

const layerRecord: z.ZodType<LayerRecord> = z.object({
  format: z.literal(1),
  installation: z.string(),
  madeBy: id<LayerRecord['madeBy']>(),
  layer: id<LayerId>(),
  pool: id<LayerRecord['pool']>(),
  role: z.enum(['head', 'frozen', 'image', 'prepared', 'successor']),
  parent: z.object({ layer: id<LayerId>(), point: id<LayerRecord['points'][number]['point']>() }).nullable(),
  sizeBytes: bytes,
  volume: volumeFacts.nullable(),
  points: z.array(pointRecord),
})

/** The record in a sidecar's text, or null if it is none that we understand. */
export function parseRecord(text: string): LayerRecord | null {
  try {
    return layerRecord.safeParse(JSON.parse(text)).data ?? null
  } catch {
    return null
  }
}

export async function readRecordFile(files: PoolFiles, layer: LayerId): Promise<LayerRecord | null> {
  const text = await readIfThere(files.record(layer))
  return text === null ? null : parseRecord(text)
}

export const writeRecordFile = (files: PoolFiles, record: LayerRecord): Promise<void> =>
  writeDurably(files.record(record.layer), `${JSON.stringify(record, null, 2)}\n`)
