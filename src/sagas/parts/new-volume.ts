/** A volume in the making: a row that says `creating`, a layer that is named; shared by volumes made alone and with an instance. */
import type { Bytes, LayerId, OperationId, PoolId, VolumeId } from '../../domain/ids.ts'
import type { PointRef } from '../../ports/storage-driver.ts'
import type { Tx } from '../../ports/tables.ts'
import type { World } from '../../ports/world.ts'
import { newLayerRecord } from './catalogue.ts'

export type NewVolume = {
  readonly volume: VolumeId
  readonly pool: PoolId
  readonly layer: LayerId
  readonly from: PointRef | null
  readonly sizeBytes: Bytes
}

export async function makeLayer(
  world: World,
  operation: OperationId,
  { volume, pool, layer, from, sizeBytes }: NewVolume,
): Promise<void> {
  const record = await newLayerRecord(world.db, {
    layer,
    pool,
    by: operation,
    role: 'prepared',
    parent: from,
    sizeBytes,
    volume,
  })
  await world.storage(pool).newLayer(layer, from, sizeBytes, record)
}

export async function volumeReady(tx: Tx, { volume, layer }: NewVolume): Promise<void> {
  await tx.updateTable('layers').set({ state: 'present' }).where('id', '=', layer).execute()
  await tx.updateTable('volumes').set({ state: 'ready', updated_at: new Date() }).where('id', '=', volume).execute()
}

export async function volumeFailed(tx: Tx, { volume }: NewVolume): Promise<void> {
  await tx.updateTable('volumes').set({ state: 'error', updated_at: new Date() }).where('id', '=', volume).execute()
}
