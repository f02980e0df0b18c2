/** Names all that a backup will make, and writes its row: in the transaction that starts its operation. */
import { type Selectable, sql } from 'kysely'
import {
  type BackupId,
  type HostId,
  type InstanceId,
  type LayerId,
  newId,
  type OperationId,
  type PointId,
  type SnapshotId,
  type VaultId,
} from '../domain/ids.ts'
import type { Plan, TakeLocks } from '../ports/operations.ts'
import type { Tables, Tx } from '../ports/tables.ts'
import type { BackupFacts } from '../ports/vault-mover.ts'
import { madeInto, sourceOf } from '../sagas/parts/kept-points.ts'
import { chainOf } from '../sagas/parts/machine.ts'
import type { PointedDisk } from '../sagas/take-points.ts'
import type { WriteBackupParams } from '../sagas/write-backup.ts'
import type { Caller } from './caller.ts'
import type { BackupRequest, Labels } from './commands.ts'
import { exclusive, shared } from './locks.ts'
import { nameDisk } from './name-disk.ts'
import type { Needs } from './needs.ts'
import { moverHost, vaultOf } from './vault-choice.ts'

type VolumeRow = Selectable<Tables['volumes']>
type SnapshotRow = Selectable<Tables['volume_snapshots']>
type Where = { readonly id: InstanceId; readonly name: string; readonly device: string; readonly host: HostId | null }

/** A point that is there, or that an operation is about to take. */
export type BackupSource = {
  readonly volume: VolumeRow
  /** The hidden snapshot that names the point. */
  readonly snapshot: SnapshotId
  /** Layers that the point is read through. */
  readonly chain: readonly LayerId[]
  readonly sizeBytes: number
  readonly instance: Where | null
  readonly ofSnapshot: SnapshotId | null
}

/** What the volume holds now: its point is named, and will be taken. */
export async function sourceNow(
  tx: Tx,
  caller: Caller,
  by: OperationId,
  volume: VolumeRow,
  instance: Where | null,
  backup: BackupId,
  name: string,
): Promise<{ source: BackupSource; disk: PointedDisk }> {
  const { id, pool_id: pool, head_layer_id: head, size_bytes: sizeBytes } = volume
  const snapshot = newId<SnapshotId>()
  const disk = await nameDisk(tx, caller, by, {
    volume: id,
    pool,
    head,
    sizeBytes,
    device: instance?.device ?? null,
    snapshot,
    name,
    description: null,
    kind: 'backup',
    metadata: madeInto(backup),
    instance: instance?.id ?? null,
    image: null,
  })
  return { source: { volume, snapshot, chain: await chainOf(tx, head), sizeBytes, instance, ofSnapshot: null }, disk }
}

/** The point of one of the volume's own snapshots gets a second name, so that it stays when the snapshot goes. */
export async function keepSnapshotPoint(
  tx: Tx,
  by: OperationId,
  volume: VolumeRow,
  of: SnapshotRow & { readonly point_id: PointId },
  backup: BackupId,
  name: string,
): Promise<BackupSource> {
  const snapshot = newId<SnapshotId>()
  const { project_id, user_id, point_id, size_bytes, instance_id, device, consistency, consistency_why } = of
  await tx
    .insertInto('volume_snapshots')
    .values({
      id: snapshot,
      volume_id: volume.id,
      kind: 'backup',
      state: 'available',
      name,
      description: null,
      metadata: JSON.stringify(madeInto(backup)),
      image_id: null,
      operation_id: by,
      ...{ project_id, user_id, point_id, size_bytes, instance_id, device, consistency, consistency_why },
    })
    .execute()
  const machine = instance_id
    ? await tx
        .selectFrom('instances')
        .select(['id', 'name', 'host_id as host'])
        .where('id', '=', instance_id)
        .executeTakeFirst()
    : undefined
  const instance = machine && device ? { ...machine, device } : null
  const chain = (await sourceOf(tx, snapshot))?.chain ?? []
  return { volume, snapshot, chain, sizeBytes: size_bytes, instance, ofSnapshot: of.id }
}

type Named = Pick<BackupRequest, 'description' | 'metadata' | 'read'> & {
  readonly backup: BackupId
  readonly by: OperationId
  readonly name: string
  readonly source: BackupSource & { readonly moment: OperationId | null }
}

/** Chooses vault and host, locks what the backup is read through, and writes its row. */
export async function nameBackup(
  tx: Tx,
  needs: Needs,
  take: TakeLocks,
  caller: Caller,
  { backup, by, name, source, description, metadata, read }: Named,
): Promise<Plan<WriteBackupParams>> {
  const { volume, snapshot, moment } = source
  const { id, project_id: project, pool_id: pool } = volume
  const silentSeconds = needs.settings.hostSilentSeconds
  const host = await moverHost(tx, { pool, host: source.instance?.host ?? null, silentSeconds })
  const vault = await vaultOf(tx, host)
  const previous = await latestBackup(tx, volume, vault)
  await take(shared('layer', ...source.chain, ...(await chainOfKept(tx, previous?.snapshot ?? null))))
  await take([...exclusive('backup', backup), ...shared('backup', ...(previous ? [previous.backup] : []))])
  await take(shared('archive', id))
  const facts = await factsOf(tx, source, { name, description, metadata })
  await tx
    .insertInto('backups')
    .values({
      id: backup,
      project_id: project,
      user_id: caller.user,
      volume_id: id,
      vault_id: vault,
      pool_id: pool,
      name,
      description,
      state: 'creating',
      metadata: JSON.stringify(metadata),
      facts: JSON.stringify({ ...facts, consistency: 'crash' }),
      size_bytes: source.sizeBytes,
      snapshot_id: snapshot,
      source_snapshot_id: source.ofSnapshot,
      operation_id: by,
    })
    .execute()
  return {
    params: { backup, volume: id, project, vault, host, pool, snapshot, moment, previous, read, facts },
    instance: null,
    volumeOperation: { volume: id, name: 'backup' },
    ...(moment === null ? {} : { waitsFor: moment }),
  }
}

/** The one whose pages the next one shares: undamaged, and rather one whose point is kept. */
async function latestBackup(tx: Tx, { id }: VolumeRow, vault: VaultId): Promise<WriteBackupParams['previous']> {
  const row = await tx
    .selectFrom('backups')
    .select(['id as backup', 'snapshot_id as snapshot'])
    .where('volume_id', '=', id)
    .where('vault_id', '=', vault)
    .where('state', '=', 'available')
    .where('damage', 'is', null)
    .orderBy(sql`snapshot_id is not null`, 'desc')
    .orderBy('created_at', 'desc')
    .limit(1)
    .executeTakeFirst()
  return row ?? null
}

const chainOfKept = async (tx: Tx, snapshot: SnapshotId | null): Promise<readonly LayerId[]> =>
  snapshot === null ? [] : ((await sourceOf(tx, snapshot))?.chain ?? [])

async function factsOf(
  tx: Tx,
  { volume, instance }: BackupSource,
  told: { name: string; description: string | null; metadata: Labels },
): Promise<Omit<BackupFacts, 'consistency'>> {
  const project = await tx.selectFrom('projects').select('name').where('id', '=', volume.project_id).executeTakeFirst()
  const { rows } = await sql<{ now: Date }>`select clock_timestamp() as now`.execute(tx)
  return {
    ...told,
    createdAt: rows[0]!.now.toISOString(),
    volumeName: volume.name,
    projectName: project?.name ?? '',
    bootable: volume.bootable,
    imageMetadata: volume.image_metadata,
    instance: instance && { id: instance.id, name: instance.name, device: instance.device },
  }
}
