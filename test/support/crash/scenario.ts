/**
 * The product on a world in memory: its own commands and sagas, run without faults, make what a test starts from.
 *
 * There is a host with one pool; an image; the instance `machine`, running, with disks vda (from the image) and vdb; an instance
 * snapshot of it; a free volume with a snapshot; an empty vault. Every disk has been written to before and after its snapshot.
 */

import { createClaims } from '../../../src/adapters/database/claims.ts'
import { listen } from '../../../src/adapters/database/listen.ts'
import { createOperations } from '../../../src/adapters/database/operations.ts'
import { MemoryDriver } from '../../../src/adapters/storage/memory/driver.ts'
import { vaultKeys } from '../../../src/adapters/vault/keys.ts'
import { bootstrap } from '../../../src/app/bootstrap.ts'
import type { Caller } from '../../../src/app/caller.ts'
import { createCommands } from '../../../src/app/commands/index.ts'
import type { Commands } from '../../../src/app/commands.ts'
import {
  type FlavorId,
  type HostId,
  type ImageId,
  type InstanceId,
  type LayerId,
  newId,
  type PoolId,
  type SnapshotId,
  type VaultId,
  type VolumeId,
} from '../../../src/domain/ids.ts'
import { GiB } from '../../../src/domain/volume.ts'
import type { Claims } from '../../../src/ports/journal.ts'
import type { Operations } from '../../../src/ports/operations.ts'
import type { Db } from '../../../src/ports/tables.ts'
import { execute } from '../../../src/sagas/engine/execute.ts'
import type { AnySaga, Pace } from '../../../src/sagas/engine/run.ts'
import type { TestDatabase } from '../database.ts'
import { MemoryHost } from '../memory-host.ts'
import { quietLog } from '../quiet-log.ts'
import { testSecrets } from '../secrets.ts'
import { hastyClock, MemoryWorld } from './memory-world.ts'

export type PointsPerLayer = 'one' | 'many'
export type Sagas = Readonly<Record<string, AnySaga>>

export const hastyPace: Pace = { attempts: 4, finishAttempts: 4, waitMs: () => 0 }

const never = new AbortController().signal
export const undisturbed = { halt: never, stop: never, cancel: never }

/** What fixtures are written in terms of. */
export type Kit = {
  readonly db: Db
  readonly operations: Operations
  readonly claims: Claims
  readonly commands: Commands
  readonly caller: Caller
  readonly world: MemoryWorld
  readonly pool: PoolId
  readonly host: HostId
  readonly disk: MemoryDriver
  readonly pointsPerLayer: PointsPerLayer
  readonly things: Things
  /** Runs all that was begun to its end; it must be done. */
  readonly run: (begun?: Promise<unknown>) => Promise<void>
  /** Names of layers that volumes write now. */
  readonly headOf: (volume: VolumeId) => Promise<LayerId>
  readonly contentOf: (volume: VolumeId) => Promise<Record<number, number>>
}

export type Things = {
  image: ImageId
  instance: InstanceId
  vda: VolumeId
  vdb: VolumeId
  /** The instance snapshot, and its snapshot of vda. */
  snapshot: ImageId
  vdaSnapshot: SnapshotId
  free: VolumeId
  freeSnapshot: SnapshotId
  vault: VaultId
}

/** What guests write at once when they were pivoted. */
export const guestWrites = { block: 9, byte: 0x99 } as const

export const flavor = 'm1.tiny' as FlavorId
const hard = { mode: 'hard', graceSeconds: 0 } as const
export const hardStop = hard

export async function makeKit(database: TestDatabase, sagas: Sagas, pointsPerLayer: PointsPerLayer): Promise<Kit> {
  const { db } = database
  const listener = listen(database.url)
  const operations = createOperations({ db, listener, sagas })
  const claims = createClaims({ db, listener, owner: 'test', leaseMs: 0 })
  await listener.close()
  const [pool, host] = [newId<PoolId>(), newId<HostId>()]
  const disk = new MemoryDriver(pool, pointsPerLayer)
  const pools = new Map([[pool, disk]])
  const agent = new MemoryHost([disk])
  agent.afterPivot = guestWrites
  const world = new MemoryWorld(pools, new Map([[host, agent]]))
  const caller = await makeRows(db, pool, host, pointsPerLayer)
  const settings = { freezeSeconds: 1, hostSilentSeconds: 1e9, poolReserveBytes: 0, volumeOperationsPerUser: 100 }
  const commands = createCommands({
    db,
    operations,
    allow: () => {},
    settings,
    mover: async () => world.mover(),
    secrets: testSecrets,
    vaultKeys,
  })
  const headOf: Kit['headOf'] = async (volume) =>
    (await db.selectFrom('volumes').select('head_layer_id').where('id', '=', volume).executeTakeFirstOrThrow()).head_layer_id
  const kit = {
    db,
    operations,
    claims,
    commands,
    caller,
    world,
    pool,
    host,
    disk,
    pointsPerLayer,
    headOf,
    contentOf: async (volume: VolumeId) => disk.read(await headOf(volume)),
    run: async (begun?: Promise<unknown>) => {
      await begun
      await runAll(db, claims, sagas, world)
    },
  }
  return { ...kit, things: await makeThings(kit) }
}

async function makeRows(db: Db, pool: PoolId, host: HostId, pointsPerLayer: PointsPerLayer): Promise<Caller> {
  await bootstrap(db, 'a password of tests')
  const user = await db.selectFrom('users').selectAll().executeTakeFirstOrThrow()
  const project = await db.selectFrom('projects').selectAll().executeTakeFirstOrThrow()
  const facts = JSON.stringify({})
  await db
    .insertInto('hosts')
    .values({ id: host, name: 'host1', agent_address: 'memory', disabled_reason: null, facts, seen_at: new Date() })
    .execute()
  await db
    .insertInto('pools')
    .values({
      id: pool,
      name: 'pool1',
      kind: pointsPerLayer === 'one' ? 'qcow2' : 'rbd',
      total_bytes: 1024 * GiB,
      free_bytes: 1024 * GiB,
    })
    .execute()
  await db.insertInto('pool_hosts').values({ pool_id: pool, host_id: host }).execute()
  await db
    .insertInto('flavors')
    .values({ id: flavor, name: 'm1.tiny', vcpus: 1, ram_mib: 64, disk_gib: 1, description: null })
    .execute()
  return {
    user: user.id,
    userName: user.name,
    project: project.id,
    projectName: project.name,
    roles: ['admin', 'member'],
    requestId: newId(),
  }
}

type Bare = Omit<Kit, 'things'>

async function makeThings(kit: Bare): Promise<Things> {
  const { db, commands, caller, disk, run } = kit
  const image = await uploadedImage(kit, 'disk')
  await run(commands.importImage(caller, image, upload('disk')))
  const created = await commands.createInstance(caller, machineFrom(image))
  const { instance } = created
  await run()
  const attached = await db
    .selectFrom('attachments')
    .selectAll()
    .where('instance_id', '=', instance)
    .orderBy('device')
    .execute()
  const [vda, vdb] = [attached[0]!.volume_id, attached[1]!.volume_id]
  for (const volume of [vda, vdb]) disk.write(await kit.headOf(volume), 1, 0x11)
  const { image: snapshot } = await commands.createInstanceSnapshot(caller, {
    instance,
    name: 'monday',
    metadata: {},
    disks: null,
    consistency: 'crash',
  })
  await run()
  for (const volume of [vda, vdb]) disk.write(await kit.headOf(volume), 2, 0x22)
  const { volume: free } = await commands.createVolume(caller, freeVolume)
  await run()
  disk.write(await kit.headOf(free), 1, 0x11)
  const { snapshot: freeSnapshot } = await commands.createVolumeSnapshot(caller, snapshotOf(free))
  await run()
  disk.write(await kit.headOf(free), 2, 0x22)
  const made = await db.selectFrom('volume_snapshots').select('id').where('volume_id', '=', vda).executeTakeFirstOrThrow()
  const { vault } = await commands.createVault(caller, newVault)
  return { image, instance, vda, vdb, snapshot, vdaSnapshot: made.id, free, freeSnapshot, vault }
}

export const snapshotOf = (volume: VolumeId, force = false) => ({
  volume,
  name: 's',
  description: null,
  metadata: {},
  force,
  consistency: 'crash' as const,
})

const newVault = { name: 'vault', directory: '/vault', bytesPerSecond: null, parallel: 8, isDefault: false }

export const freeVolume = {
  name: 'free',
  description: null,
  metadata: {},
  bootable: false,
  source: { from: 'blank', sizeBytes: GiB },
} as const

export const machineFrom = (image: ImageId): Parameters<Commands['createInstance']>[1] => ({
  name: 'machine',
  description: null,
  flavor,
  image,
  disks: [
    { source: { from: 'image', image, sizeBytes: null }, bootIndex: 0, deleteOnTermination: true, device: null, tag: null },
    { source: { from: 'blank', sizeBytes: GiB }, bootIndex: null, deleteOnTermination: true, device: null, tag: null },
  ],
  network: 'auto',
  keyName: null,
  userData: null,
  metadata: {},
  tags: [],
  host: null,
})

export const upload = (name: string) => ({ name, sizeBytes: 1 << 20, md5: 'md5', sha512: 'sha512' })

/** An image whose data has been received, as a disk or as a kernel. */
export async function uploadedImage({ db, caller, disk }: Bare, name: 'disk' | 'kernel'): Promise<ImageId> {
  const id = newId<ImageId>()
  disk.putUpload(name, { sizeBytes: 1 << 20, blocks: new Map([[0, 0x77]]) })
  const formats =
    name === 'disk' ? { container_format: 'bare', disk_format: 'raw' } : { container_format: 'aki', disk_format: 'aki' }
  await db
    .insertInto('images')
    .values({
      id,
      project_id: caller.project,
      name,
      status: 'queued',
      visibility: 'private',
      ...formats,
      size_bytes: null,
      virtual_size_bytes: null,
      checksum: null,
      os_hash_algo: null,
      os_hash_value: null,
      pool_id: null,
      layer_id: null,
      point_id: null,
      instance_id: null,
    })
    .execute()
  return id
}

/** Runs everything that is open, without faults. */
export async function runAll(db: Db, claims: Claims, sagas: Sagas, world: MemoryWorld): Promise<void> {
  const log = quietLog()
  for (const claim of await claims.claim(Object.values(sagas), 100)) {
    const saga = sagas[claim.kind]!
    const ending = await execute({
      ...undisturbed,
      saga,
      claim,
      journal: claims.journalOf(claim),
      world: world.seenBy(db),
      clock: hastyClock,
      log,
      pace: hastyPace,
    })
    if (ending !== 'done')
      throw new Error(
        `${claim.kind} is ${ending}: ${JSON.stringify(log.lines.map(({ facts }) => String(Object.values(facts).at(-1))))}`,
      )
  }
}
