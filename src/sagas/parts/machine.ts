/** What a machine is started from, made of the database's rows, and the check that the storage agrees with them. */
import { sql } from 'kysely'
import type { HostId, InstanceId, LayerId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type { MachineSpec } from '../../ports/host-agent.ts'
import type { Db, Tx } from '../../ports/tables.ts'
import type { World } from '../../ports/world.ts'
import { configFilesOf } from './config-drive.ts'
import { each } from './define.ts'
import { openedByInstance } from './left-clean.ts'

type Reader = Db | Tx

/** The layers below and including `head`, bottom first. */
export async function chainOf(db: Reader, head: LayerId): Promise<LayerId[]> {
  const { rows } = await sql<{ id: LayerId }>`
    with recursive up(id, parent, depth) as (
      select id, parent_point_id, 0 from layers where id = ${head}
      union all
      select l.id, l.parent_point_id, depth + 1 from up join points p on p.id = up.parent join layers l on l.id = p.layer_id)
    select id from up order by depth desc`.execute(db)
  return rows.map(({ id }) => id)
}

export async function disksOf(db: Reader, instance: InstanceId) {
  return await db
    .selectFrom('attachments as a')
    .innerJoin('volumes as v', 'v.id', 'a.volume_id')
    .select([
      'a.device',
      'a.boot_index',
      'v.id as volume',
      'v.name',
      'v.pool_id as pool',
      'v.head_layer_id as head',
      'v.size_bytes as sizeBytes',
      'v.generation',
    ])
    .where('a.instance_id', '=', instance)
    .orderBy(sql`length(a.device)`)
    .orderBy('a.device')
    .execute()
}

export async function machineSpecOf(db: Reader, instance: InstanceId): Promise<MachineSpec> {
  const [row, disks, nic] = await Promise.all([
    db.selectFrom('instances').selectAll().where('id', '=', instance).executeTakeFirstOrThrow(),
    disksOf(db, instance),
    db
      .selectFrom('ports as p')
      .innerJoin('networks as n', 'n.id', 'p.network_id')
      .select(['p.mac', 'p.fixed_ip as ip', 'n.cidr', 'n.gateway'])
      .where('p.instance_id', '=', instance)
      .executeTakeFirst(),
  ])
  const { kernelId, ramdiskId, kernelArgs, configDrive } = row.boot
  const bootPool = disks[0]?.pool
  return {
    instance,
    name: row.name,
    vcpus: row.flavor.vcpus,
    ramMib: row.flavor.ramMib,
    disks: await each(disks, async ({ device, volume, pool, head, sizeBytes }) => ({
      device,
      volume,
      pool,
      sizeBytes,
      chain: await chainOf(db, head),
    })),
    nic: nic ?? null,
    directBoot:
      kernelId && bootPool ? { pool: bootPool, kernel: kernelId, ramdisk: ramdiskId ?? null, args: kernelArgs ?? '' } : null,
    ...(configDrive ? { configDrive: configFilesOf(row) } : {}),
  }
}

export async function hostOf(db: Reader, instance: InstanceId): Promise<HostId> {
  const row = await db.selectFrom('instances').select('host_id').where('id', '=', instance).executeTakeFirst()
  if (!row?.host_id) throw refuse.noHost({ why: `instance ${instance} has no host` })
  return row.host_id
}

/**
 * Starts a machine from the rows, after asking the storage whether it has moved on without them: a head that the storage calls
 * frozen, that is missing, or that carries a higher generation means that the database is older than the disks.
 */
export async function startMachine(world: World, instance: InstanceId): Promise<void> {
  const [spec, disks, host] = await Promise.all([
    machineSpecOf(world.db, instance),
    disksOf(world.db, instance),
    hostOf(world.db, instance),
  ])
  await each(disks, async ({ volume, pool, head, generation }) => {
    const record = await world.storage(pool).readRecord(head)
    const onStorage = record?.volume?.generation ?? generation + 1
    if (!record || record.role === 'frozen' || onStorage > generation) {
      throw refuse.catalogueNewer({ volume, database: generation, storage: Math.max(onStorage, generation + 1) })
    }
  })
  await openedByInstance(world.db, instance)
  await world.hosts(host).startMachine(spec)
}
