/**
 * May this instance be rolled back to this target, and what would happen? The dry run answers it, and the operation asks it again
 * inside its locking transaction. Reads only. Every problem at once, each with a stable code, and whether waiting may cure it.
 */
import type { InstanceId, SnapshotId, VolumeId } from '../domain/ids.ts'
import { instanceCan, vmStateOf } from '../domain/instance.ts'
import { refuse } from '../domain/refusals.ts'
import type { PointRef } from '../ports/storage-driver.ts'
import type { Db, Tx } from '../ports/tables.ts'
import { chainOf, disksOf } from '../sagas/parts/machine.ts'
import { type Caller, isAdmin } from './caller.ts'
import { maxDepth, warnDepth } from './chains.ts'
import { chooseDisks } from './choose-disks.ts'
import type { Finding, Preflight, RollbackRequest } from './commands.ts'
import type { Needs } from './needs.ts'
import { ownedInstance } from './owned.ts'
import { estimateDowntime } from './rollback-estimate.ts'

type Reader = Db | Tx

/** One disk of the target: a point of a volume, by the name of a snapshot. */
export type TargetDisk = {
  readonly volume: VolumeId
  readonly snapshot: SnapshotId
  readonly bootIndex: number | null
  readonly sizeBytes: number
  readonly point: PointRef | null
  readonly usable: boolean
}

export type AttachedDisk = Awaited<ReturnType<typeof disksOf>>[number]
export type PlannedDisk = { readonly disk: AttachedDisk; readonly target: TargetDisk & { readonly point: PointRef } }
export type Examined = {
  readonly instance: Awaited<ReturnType<typeof ownedInstance>> | null
  readonly attached: readonly AttachedDisk[]
  readonly planned: readonly PlannedDisk[]
  readonly errors: readonly Finding[]
  readonly warnings: readonly Finding[]
}

export const targetName = ({ target }: RollbackRequest): string =>
  'image' in target ? target.image : target.snapshots.join(',')

const lasting = (code: string, message: string, facts?: Finding['facts']): Finding => ({
  code,
  message,
  transient: false,
  ...(facts ? { facts } : {}),
})
const passing = (code: string, message: string): Finding => ({ code, message, transient: true })

/** The target's disks, or null when there is no such target for this caller. */
export async function targetDisks(
  db: Reader,
  caller: Caller,
  { target }: RollbackRequest,
): Promise<{ disks: TargetDisk[]; from: InstanceId | null } | null> {
  if ('image' in target) {
    const image = await db
      .selectFrom('images')
      .selectAll()
      .where('id', '=', target.image)
      .where('deleted_at', 'is', null)
      .executeTakeFirst()
    if (!image?.snapshot_of || image.status !== 'active' || !visible(caller, image.project_id)) return null
    const { disks, instance } = image.snapshot_of
    const rows = await snapshotRows(
      db,
      disks.map(({ snapshot }) => snapshot),
    )
    const named = disks.map((disk) =>
      toTarget(
        disk,
        rows.find(({ id }) => id === disk.snapshot),
      ),
    )
    return { disks: named, from: instance }
  }
  const rows = await snapshotRows(db, target.snapshots)
  if (rows.length !== new Set(target.snapshots).size || rows.some(({ project_id }) => !visible(caller, project_id))) return null
  if (new Set(rows.map(({ volume_id }) => volume_id)).size !== rows.length || rows.some(({ state }) => state !== 'available'))
    return null
  const disks = rows.map((row) =>
    toTarget({ volume: row.volume_id, snapshot: row.id, bootIndex: null, sizeBytes: row.size_bytes }, row),
  )
  return { disks, from: rows[0]?.instance_id ?? null }
}

const visible = (caller: Caller, project: string) => project === caller.project || isAdmin(caller)

type SnapshotRow = Awaited<ReturnType<typeof snapshotRows>>[number]

const snapshotRows = async (db: Reader, ids: readonly SnapshotId[]) =>
  ids.length === 0
    ? []
    : await db
        .selectFrom('volume_snapshots as s')
        .leftJoin('points as p', 'p.id', 's.point_id')
        .select(['s.id', 's.project_id', 's.volume_id', 's.state', 's.size_bytes', 's.point_id', 's.instance_id', 'p.layer_id'])
        .where('s.id', 'in', ids)
        .where('s.kind', '<>', 'backup')
        .where('s.deleted_at', 'is', null)
        .execute()

function toTarget(
  named: { volume: VolumeId; snapshot: SnapshotId; bootIndex: number | null; sizeBytes: number },
  row: SnapshotRow | undefined,
): TargetDisk {
  const point = row?.point_id && row.layer_id ? { layer: row.layer_id, point: row.point_id } : null
  const { volume, snapshot, bootIndex, sizeBytes } = named
  return { volume, snapshot, bootIndex, sizeBytes, point, usable: row?.state === 'available' && point !== null }
}

/** The instance a target belongs to: the one it was taken of, else the one its boot volume is attached to. */
async function sourceInstance(
  db: Reader,
  target: { disks: readonly TargetDisk[]; from: InstanceId | null },
): Promise<InstanceId | null> {
  if (target.from) {
    const row = await db
      .selectFrom('instances')
      .select('id')
      .where('id', '=', target.from)
      .where('deleted_at', 'is', null)
      .executeTakeFirst()
    if (row) return row.id
  }
  const boot = target.disks.find(({ bootIndex }) => bootIndex === 0) ?? target.disks[0]
  if (!boot) return null
  const row = await db.selectFrom('attachments').select('instance_id').where('volume_id', '=', boot.volume).executeTakeFirst()
  return row?.instance_id ?? null
}

/** `busyIsMine`: the caller of this function holds the locks, so being busy is no finding. */
export async function examineRollback(
  db: Reader,
  needs: Needs,
  caller: Caller,
  given: InstanceId | null,
  request: RollbackRequest,
  busyIsMine: boolean,
): Promise<Examined> {
  const target = await targetDisks(db, caller, request)
  const id = given ?? (target ? await sourceInstance(db, target) : null)
  const none = { instance: null, attached: [], planned: [], warnings: [] }
  if (!target && id === null) return { ...none, errors: [unusableSnapshot] }
  if (id === null) return { ...none, errors: [unknownInstance] }
  const instance = await ownedInstance(db, caller, id)
  const attached = await disksOf(db, id)
  const errors: Finding[] = []
  if (!target) errors.push(unusableSnapshot)
  if (!instanceCan('rollback', instance.state)) {
    errors.push(
      passing('instanceWrongState', `Cannot 'rollback' instance ${id} while it is in vm_state ${vmStateOf[instance.state]}`),
    )
  }
  if (instance.locked && !isAdmin(caller)) errors.push(lasting('instanceLocked', `Instance ${id} is locked. Unlock it first.`))
  if (!busyIsMine) errors.push(...(await busyFindings(needs, id, attached)))
  const chosen = target ? choose(target.disks, attached, request, errors) : []
  errors.push(...(await storageFindings(db, needs, instance.host_id, chosen)))
  const warnings = target ? [...warningsOf(chosen, attached, request), ...(await spaceWarnings(db, chosen))] : []
  for (const depth of await depths(db, chosen)) {
    if (depth >= maxDepth)
      errors.push(
        lasting(
          'chainTooLong',
          `The target lies ${depth} layers deep, and ${maxDepth} are the most there may be. Delete snapshots between that nobody needs.`,
        ),
      )
    else if (depth > warnDepth)
      warnings.push(
        lasting(
          'chainLong',
          `The disk will lie ${depth} layers deep, which slows its reads down. Delete snapshots between that nobody needs.`,
        ),
      )
  }
  return { instance, attached, planned: chosen, errors, warnings }
}

const unusableSnapshot = passing('snapshotUnusable', 'Snapshot not found or not active')
const unknownInstance = lasting(
  'instanceUnknown',
  'Cannot determine source instance for this snapshot: its instance was deleted. Use Create Instance From Snapshot to launch a new one.',
)

async function busyFindings(needs: Needs, id: InstanceId, attached: readonly AttachedDisk[]): Promise<Finding[]> {
  const holders = await needs.operations.holders([`instance:${id}`, ...attached.map(({ volume }) => `volume:${volume}`)])
  const kinds = new Set([...holders.values()].map(({ kind }) => kind))
  return [...kinds].map((kind) => passing('instanceBusy', refuse.instanceBusy({ id, operation: kind }).message))
}

/** The disks that will be put back. Without `disks`, all of the target must be possible; with it, only those count. */
function choose(
  targets: readonly TargetDisk[],
  attached: readonly AttachedDisk[],
  request: RollbackRequest,
  errors: Finding[],
): PlannedDisk[] {
  const wanted = request.disks === null ? targets : namedTargets(targets, attached, request.disks, errors)
  const planned: PlannedDisk[] = []
  const problems: Finding[] = []
  for (const target of wanted) {
    const disk = attached.find(({ volume }) => volume === target.volume)
    const problem = problemOf(target, disk, attached)
    if (problem) problems.push(problem)
    else if (disk && target.point) planned.push({ disk, target: { ...target, point: target.point } })
  }
  if (problems.length > 0 && request.disks === null && planned.length > 0) {
    const disks = planned.map(({ disk }) => disk.volume)
    const devices = planned.map(({ disk }) => disk.device).join(', ')
    errors.push(
      ...problems.map((problem) => ({
        ...problem,
        message: `${problem.message} To roll back the others, ask for these by 'disks': ${devices}.`,
        facts: { disks },
      })),
    )
  } else errors.push(...problems)
  if (wanted.length === 0 && errors.length === 0)
    errors.push(lasting('nothingToDo', 'The snapshot holds none of the disks that were asked for.'))
  return planned
}

function namedTargets(
  targets: readonly TargetDisk[],
  attached: readonly AttachedDisk[],
  names: readonly string[],
  errors: Finding[],
): TargetDisk[] {
  const disks = chooseDisks(attached, names)
  return disks.flatMap((disk) => {
    const target = targets.find(({ volume }) => volume === disk.volume)
    if (!target) errors.push(lasting('diskNotInSnapshot', `Disk ${disk.device} (${disk.volume}) is not part of the snapshot.`))
    return target ? [target] : []
  })
}

function problemOf(target: TargetDisk, disk: AttachedDisk | undefined, attached: readonly AttachedDisk[]): Finding | null {
  const root = attached.find(({ boot_index }) => boot_index === 0)
  if (target.bootIndex === 0 && root && root.volume !== target.volume) {
    return lasting(
      'operatingSystemReplaced',
      `The root disk is another volume now (${root.volume}) than when the snapshot was taken (${target.volume}).`,
    )
  }
  if (!disk) return lasting('diskDetached', `Volume ${target.volume} is no longer attached to the instance.`)
  if (!target.usable)
    return lasting('pointDeleted', `The snapshot of disk ${disk.device} (${target.volume}) was deleted or has failed.`)
  if (target.sizeBytes > disk.sizeBytes) {
    return lasting(
      'tooLarge',
      `The snapshot of disk ${disk.device} holds ${target.sizeBytes} bytes and the volume only ${disk.sizeBytes}. Make a new volume from it instead.`,
    )
  }
  return null
}

async function spaceWarnings(db: Reader, planned: readonly PlannedDisk[]): Promise<Finding[]> {
  if (planned.length === 0) return []
  const ids = planned.map(({ disk }) => disk.pool)
  const low = await db
    .selectFrom('pools')
    .select(['name', 'free_bytes'])
    .where('id', 'in', ids)
    .where('low_since', 'is not', null)
    .execute()
  return low.map(({ name, free_bytes }) =>
    passing(
      'poolLow',
      `Pool ${name} runs short of space: ${Math.round(free_bytes / 2 ** 20)} MiB are free. When it is full, instances that write to it are held until there is room.`,
    ),
  )
}

async function storageFindings(
  db: Reader,
  needs: Needs,
  host: string | null,
  planned: readonly PlannedDisk[],
): Promise<Finding[]> {
  const found: Finding[] = []
  if (planned.length > 0) {
    const pools = await db
      .selectFrom('pools')
      .selectAll()
      .where(
        'id',
        'in',
        planned.map(({ disk }) => disk.pool),
      )
      .execute()
    for (const pool of pools) {
      if (pool.kind === 'memory')
        found.push(
          lasting(
            'backendUnsupported',
            `Storage backend requires Ceph RBD/XSDS or qcow2: pool ${pool.name} keeps its disks in memory.`,
          ),
        )
      if (pool.measured_at && pool.free_bytes < needs.settings.poolReserveBytes) {
        found.push(
          passing(
            'poolFull',
            `Pool ${pool.name} has only ${Math.round(pool.free_bytes / 2 ** 20)} MiB of free space. Free some, or ask the administrator.`,
          ),
        )
      }
    }
  }
  const row = host
    ? await db
        .selectFrom('hosts')
        .selectAll()
        .where('id', '=', host as never)
        .executeTakeFirst()
    : undefined
  const silent = !row?.seen_at || Date.now() - row.seen_at.getTime() > needs.settings.hostSilentSeconds * 1000
  if (silent)
    found.push(
      passing(
        'hostUnreachable',
        `Host ${row?.name ?? 'of the instance'} does not answer, so its storage cannot be reached. Retry when it is back.`,
      ),
    )
  return found
}

const depths = (db: Reader, planned: readonly PlannedDisk[]): Promise<number[]> =>
  Promise.all(planned.map(async ({ target }) => (await chainOf(db, target.point.layer)).length + 1))

function warningsOf(planned: readonly PlannedDisk[], attached: readonly AttachedDisk[], request: RollbackRequest): Finding[] {
  const warnings: Finding[] = []
  const untouched = attached.filter(({ volume }) => !planned.some(({ disk }) => disk.volume === volume))
  if (untouched.length > 0) {
    const names = untouched.map(({ device, volume }) => `${device} (${volume})`).join(', ')
    warnings.push(lasting('disksUntouched', `These disks are not part of this rollback and stay as they are: ${names}.`))
  }
  if (request.skipSafetySnapshot)
    warnings.push(
      lasting(
        'noSafetySnapshot',
        'No safety snapshot will be taken: what was written since the snapshot cannot be brought back.',
      ),
    )
  const grown = planned.filter(({ disk, target }) => disk.sizeBytes > target.sizeBytes)
  for (const { disk } of grown)
    warnings.push(
      lasting('sizeKept', `Disk ${disk.device} keeps its present size; what lies beyond the snapshot's end reads zero.`),
    )
  return warnings
}

export async function preflightOf(
  db: Db,
  needs: Needs,
  caller: Caller,
  instance: InstanceId | null,
  request: RollbackRequest,
): Promise<Preflight> {
  const found = await examineRollback(db, needs, caller, instance, request, false)
  if (found.instance) needs.allow(caller, 'os_compute_api:xloud_rollback:dry_run', { project: found.instance.project_id })
  const pools = await db.selectFrom('pools').select(['id', 'kind']).execute()
  const kindOf = (pool: string) => pools.find(({ id }) => id === pool)?.kind ?? 'unknown'
  const backends = [...new Set(found.attached.map(({ pool }) => kindOf(pool)))]
  return {
    canRollback: found.errors.length === 0,
    instance: found.instance?.id ?? null,
    instanceName: found.instance?.name ?? null,
    snapshot: targetName(request),
    backend: backends.length === 0 ? null : backends.join('+'),
    volumes: found.planned.map(({ disk, target }) => ({
      volume: disk.volume,
      name: disk.name,
      device: disk.device,
      snapshot: target.snapshot,
      sizeBytes: disk.sizeBytes,
      snapshotSizeBytes: target.sizeBytes,
      backend: kindOf(disk.pool),
    })),
    errors: found.errors,
    warnings: found.warnings,
    estimatedDowntimeSeconds: await estimateDowntime(db, found.instance, request),
  }
}
