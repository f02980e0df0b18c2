/** A small cloud on PostgreSQL with pools and a host in memory: the real commands, sagas and engine, driven as a face would. */
import { expect, onTestFinished } from 'vitest'
import { systemClock } from '../../src/adapters/clock.ts'
import { MemoryDriver } from '../../src/adapters/storage/memory/driver.ts'
import { vaultKeys } from '../../src/adapters/vault/keys.ts'
import type { Caller } from '../../src/app/caller.ts'
import { createCommands } from '../../src/app/commands/index.ts'
import type { RollbackRequest, Started } from '../../src/app/commands.ts'
import type { Needs } from '../../src/app/needs.ts'
import { forestOf } from '../../src/app/watchers/collector.ts'
import {
  type FlavorId,
  type HostId,
  type ImageId,
  type InstanceId,
  newId,
  type OperationId,
  type PoolId,
  type ProjectId,
  type SnapshotId,
  type UserId,
} from '../../src/domain/ids.ts'
import type { Operation } from '../../src/domain/operation.ts'
import { GiB } from '../../src/domain/volume.ts'
import type { World } from '../../src/ports/world.ts'
import { sagas } from '../../src/sagas/index.ts'
import { cloneDatabase } from './database.ts'
import { engineOn } from './engine.ts'
import { MemoryHost } from './memory-host.ts'
import { testSecrets } from './secrets.ts'
import { MemoryMover, MemoryVaults } from './vaults.ts'

export const settings = { freezeSeconds: 5, hostSilentSeconds: 3600, poolReserveBytes: 0, volumeOperationsPerUser: 100 }

export async function makeCloud(pointsPerLayer: 'one' | 'many') {
  const database = await cloneDatabase()
  onTestFinished(database.drop)
  const { db } = database
  const pool = newId<PoolId>()
  const storage = new MemoryDriver(pool, pointsPerLayer)
  const machines = new MemoryHost([storage])
  const hostId = newId<HostId>()
  const project = newId<ProjectId>()
  await db
    .insertInto('installation')
    .values({ id: crypto.randomUUID() })
    .onConflict((conflict) => conflict.doNothing())
    .execute()
  await db.insertInto('projects').values({ id: project, name: project }).execute()
  await db
    .insertInto('hosts')
    .values({ id: hostId, name: hostId, agent_address: 'memory', disabled_reason: null, facts: '{}', seen_at: new Date() })
    .execute()
  await db
    .insertInto('pools')
    .values({ id: pool, name: pool, kind: pointsPerLayer === 'one' ? 'qcow2' : 'rbd', total_bytes: GiB, free_bytes: GiB })
    .execute()
  await db.insertInto('pool_hosts').values({ pool_id: pool, host_id: hostId }).execute()
  const flavor = newId<FlavorId>()
  await db
    .insertInto('flavors')
    .values({ id: flavor, name: flavor, vcpus: 1, ram_mib: 64, disk_gib: 1, description: null, extra_specs: '{}' })
    .execute()

  const engine = engineOn(database, sagas as never)
  const vaults = new MemoryVaults()
  const mover = new MemoryMover(vaults, new Map([[pool, storage]]))
  const world: World = {
    db,
    clock: systemClock,
    storage: () => storage,
    hosts: () => machines,
    mover: () => mover,
    secrets: testSecrets,
  }
  engine.work({ worldFor: () => world })
  const { operations } = engine
  const needs: Needs = {
    db,
    operations,
    allow: () => {},
    settings,
    mover: async () => mover,
    secrets: testSecrets,
    vaultKeys,
  }
  const commands = createCommands(needs)
  const caller: Caller = {
    user: 'user' as UserId,
    userName: 'user',
    project,
    projectName: 'project',
    roles: ['member'],
    requestId: newId(),
  }

  const ended = async (started: Started | { operation: OperationId }): Promise<Operation> => operations.ended(started.operation)
  const done = async <S extends { operation: OperationId }>(
    started: S | Promise<S>,
  ): Promise<S & { result: Record<string, unknown> }> => {
    const begun = await started
    const operation = await ended(begun)
    expect({ state: operation.state, problem: operation.problem, warnings: operation.warnings }).toEqual({
      state: 'done',
      problem: null,
      warnings: [],
    })
    return { ...begun, result: (operation.result ?? {}) as Record<string, unknown> }
  }
  onTestFinished(() => {
    expect(engine.log.lines.filter(({ level }) => level === 'error')).toEqual([])
  })

  /** An instance with a blank boot disk and so many blank data disks. */
  async function makeInstance(dataDisks: number): Promise<InstanceId> {
    const disks = Array.from({ length: 1 + dataDisks }, (_, index) => ({
      source: { from: 'blank' as const, sizeBytes: GiB },
      bootIndex: index === 0 ? 0 : null,
      deleteOnTermination: false,
      device: null,
      tag: null,
    }))
    const request = {
      name: 'vm',
      description: null,
      flavor,
      image: null,
      disks,
      network: 'none' as const,
      keyName: null,
      userData: null,
      metadata: {},
      tags: [],
      host: null,
    }
    return (await done(commands.createInstance(caller, request))).instance
  }
  const rollbackTo = (target: RollbackRequest['target'], more: Partial<RollbackRequest> = {}): RollbackRequest => ({
    target,
    disks: null,
    powerStateAfter: 'on',
    skipSafetySnapshot: false,
    stop: { mode: 'hard', graceSeconds: 0 },
    ...more,
  })
  return {
    db,
    pool,
    storage,
    machines,
    vaults,
    mover,
    log: engine.log,
    commands,
    operations,
    caller,
    needs,
    flavor,
    done,
    ended,
    makeInstance,
    snapshot: async (instance: InstanceId, name: string, disks: readonly string[] | null = null): Promise<ImageId> =>
      (await done(commands.createInstanceSnapshot(caller, { instance, name, metadata: {}, disks, consistency: 'crash' })))
        .image,
    rollback: async (instance: InstanceId, image: ImageId, more: Partial<RollbackRequest> = {}) =>
      (await done(commands.rollback(caller, instance, rollbackTo({ image }, more)))).result,
    undo: async (instance: InstanceId, snapshots: readonly SnapshotId[]) =>
      (await done(commands.rollback(caller, instance, rollbackTo({ snapshots })))).result,
    rollbackTo,
    forest: () => forestOf(db, pool),
  }
}

export type Cloud = Awaited<ReturnType<typeof makeCloud>>
