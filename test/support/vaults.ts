/**
 * Vaults in memory behind the port `VaultMover`: plain data, so that two moments can be compared deeply. What a backup holds is
 * kept whole; objects that nothing refers to are only counted, as a sweep finds them. An incremental backup is made of the former
 * one and of what changed between the two points: told a wrong point, it is wrong.
 */
import { createHash } from 'node:crypto'
import type { MemoryDriver } from '../../src/adapters/storage/memory/driver.ts'
import { blockBytes } from '../../src/adapters/storage/memory/state.ts'
import type { BackupId, PoolId, VolumeId } from '../../src/domain/ids.ts'
import { refuse } from '../../src/domain/refusals.ts'
import type {
  BackupFacts,
  BackupOutcome,
  BackupRef,
  SourcePoint,
  VaultAccess,
  VaultIdentity,
  VaultMover,
} from '../../src/ports/vault-mover.ts'

type Content = Readonly<Record<number, number>>
type Stored = {
  readonly of: BackupRef
  readonly content: Content
  readonly facts: BackupFacts
  readonly outcome: BackupOutcome
}
type Vault = {
  identity: VaultIdentity
  readonly key: string
  readonly backups: Map<BackupId, Stored>
  /** Objects of each volume that nothing refers to: seen by no sweep yet, and by one. */
  readonly garbage: Map<VolumeId, { fresh: number; marked: number }>
}

export class MemoryVaults {
  readonly #vaults = new Map<string, Vault>()
  /** Backups with a block that does not read back. */
  readonly damaged = new Set<BackupId>()
  /** Unmounted. */
  away = false
  full = false

  copy(): MemoryVaults {
    const copy = new MemoryVaults()
    for (const [place, vault] of this.#vaults) copy.#vaults.set(place, structuredClone(vault))
    for (const backup of this.damaged) copy.damaged.add(backup)
    return copy
  }

  /** Without what a sweep has counted: sweeping once more is no other state. */
  state(): unknown {
    return structuredClone(new Map([...this.#vaults].map(([place, { identity, backups }]) => [place, { identity, backups }])))
  }

  /** For tests: what the backup holds; undefined: it is not there. */
  contentOf(backup: BackupId): Content | undefined {
    return this.#all().find(({ of }) => of.backup === backup)?.content
  }

  /** For tests: everything that came in with calls and is kept, to look for what must not be there. */
  at(directory: string): Vault {
    const found = this.away ? undefined : this.#vaults.get(directory)
    if (!found) throw refuse.vaultUnreachable({ vault: directory })
    return found
  }

  make(directory: string, key: string, identity: VaultIdentity): void {
    if (this.away) throw refuse.vaultUnreachable({ vault: identity.name })
    const there = this.#vaults.get(directory)
    if (there && there.identity.vault !== identity.vault) throw refuse.vaultNotEmpty({ place: directory })
    if (!there) this.#vaults.set(directory, { identity, key, backups: new Map(), garbage: new Map() })
  }

  /** The vault that the caller has the key of. */
  open({ place, key, vault }: VaultAccess): Vault {
    const found = this.at(place.directory)
    if (found.identity.vault !== vault || found.key !== key) throw refuse.vaultUnreachable({ vault: found.identity.name })
    return found
  }

  identity(directory: string): VaultIdentity | null {
    return this.away ? null : (this.#vaults.get(directory)?.identity ?? null)
  }

  #all(): Stored[] {
    return [...this.#vaults.values()].flatMap(({ backups }) => [...backups.values()])
  }
}

const litter = ({ garbage }: Vault, volume: VolumeId): void => {
  const found = garbage.get(volume) ?? { fresh: 0, marked: 0 }
  garbage.set(volume, { ...found, fresh: found.fresh + 1 })
}

const rootHashOf = ({ project }: BackupRef, content: Content, sizeBytes: number): string =>
  createHash('sha256')
    .update(JSON.stringify([project, content, sizeBytes]))
    .digest('hex')

const differing = (a: Content, b: Content): number[] =>
  [...new Set([...Object.keys(a), ...Object.keys(b)])].map(Number).filter((block) => a[block] !== b[block])

function patched(former: Content, now: Content, blocks: readonly number[]): Content {
  const content: Record<number, number> = { ...former }
  for (const block of blocks) {
    const byte = now[block]
    if (byte === undefined) delete content[block]
    else content[block] = byte
  }
  return content
}

type Pools = ReadonlyMap<PoolId, MemoryDriver>
/** Called before anything is written; it may wait, or reject. */
type Gate = (what: 'write' | 'restore' | 'sweep', signal: AbortSignal | undefined) => Promise<void>

export class MemoryMover implements VaultMover {
  readonly #vaults: MemoryVaults
  readonly #pools: Pools
  gate: Gate = async () => {}

  constructor(vaults: MemoryVaults, pools: Pools) {
    this.#vaults = vaults
    this.#pools = pools
  }

  makeVault: VaultMover['makeVault'] = async ({ place, key }, identity) => this.#vaults.make(place.directory, key, identity)

  readIdentity: VaultMover['readIdentity'] = async ({ directory }) => this.#vaults.identity(directory)

  writeSlots: VaultMover['writeSlots'] = async (access, slots) => {
    const vault = this.#vaults.open(access)
    vault.identity = { ...vault.identity, slots }
  }

  testVault: VaultMover['testVault'] = async (access) => {
    this.#vaults.open(access)
    return { freeBytes: 1024 ** 4, sharesDiskWith: [] }
  }

  writeBackup: VaultMover['writeBackup'] = async (access, { of, source, previous, facts }, report, signal) => {
    const vault = this.#vaults.open(access)
    const there = vault.backups.get(of.backup)
    if (there) return there.outcome
    const content = this.#read(source)
    report?.({ doneBytes: 0, totalBytes: source.sizeBytes, bytesPerSecond: 0 })
    await this.gate('write', signal)
    signal?.throwIfAborted()
    if (this.#vaults.full) throw refuse.vaultFull({ vault: vault.identity.name })
    const former = previous?.point ? vault.backups.get(previous.backup) : undefined
    const changed =
      former && previous?.point ? differing(content, this.#read(previous.point)) : Object.keys(content).map(Number)
    const stored = former ? patched(former.content, content, changed) : content
    const readBytes = changed.length * blockBytes
    const outcome: BackupOutcome = {
      rootHash: rootHashOf(of, stored, source.sizeBytes),
      sizeBytes: source.sizeBytes,
      readBytes,
      storedBytes: readBytes,
      base: former ? former.of.backup : null,
      why: former ? null : (previous?.whyNot ?? null),
    }
    vault.backups.set(of.backup, { of, content: stored, facts, outcome })
    report?.({ doneBytes: source.sizeBytes, totalBytes: source.sizeBytes, bytesPerSecond: 1024 ** 2 })
    return outcome
  }

  discardBackup: VaultMover['discardBackup'] = async (access, { backup }) => {
    this.#vaults.open(access).backups.delete(backup)
  }

  restoreBackup: VaultMover['restoreBackup'] = async (access, { of, rootHash, target }, report, signal) => {
    const vault = this.#vaults.open(access)
    const found = vault.backups.get(of.backup)
    if (!found) throw refuse.notFound({ what: 'Backup', id: of.backup })
    await this.gate('restore', signal)
    signal?.throwIfAborted()
    if (this.#vaults.damaged.has(of.backup) || found.outcome.rootHash !== rootHash)
      throw refuse.backupDamaged({ object: 'packs/1.pack', backups: [of.backup] })
    const pool = this.#pool(target.pool)
    for (const [block, byte] of Object.entries(found.content)) pool.write(target.layer, Number(block), byte)
    const writtenBytes = Object.keys(found.content).length * blockBytes
    report?.({ doneBytes: writtenBytes, totalBytes: writtenBytes, bytesPerSecond: 1024 ** 2 })
    return { writtenBytes }
  }

  hasBackup: VaultMover['hasBackup'] = async (access, { backup }) => this.#vaults.open(access).backups.has(backup)

  deleteBackup: VaultMover['deleteBackup'] = async (access, { backup, volume }) => {
    const vault = this.#vaults.open(access)
    if (vault.backups.delete(backup)) litter(vault, volume)
  }

  listBackups: VaultMover['listBackups'] = async (access) =>
    [...this.#vaults.open(access).backups.values()].map(({ of, facts, outcome: { rootHash, sizeBytes, storedBytes } }) => ({
      ...of,
      facts,
      rootHash,
      sizeBytes,
      storedBytes,
    }))

  sweepVolume: VaultMover['sweepVolume'] = async (access, volume, signal) => {
    const vault = this.#vaults.open(access)
    await this.gate('sweep', signal)
    signal?.throwIfAborted()
    const { fresh, marked } = vault.garbage.get(volume) ?? { fresh: 0, marked: 0 }
    if (fresh === 0) vault.garbage.delete(volume)
    else vault.garbage.set(volume, { fresh: 0, marked: fresh })
    return { removedObjects: marked, removedBytes: marked * blockBytes, markedObjects: fresh }
  }

  verify: VaultMover['verify'] = async (access, volume, report) => {
    const all = [...this.#vaults.open(access).backups.values()].filter(({ of }) => volume === null || of.volume === volume)
    const readBytes = all.length * blockBytes
    report?.({ doneBytes: readBytes, totalBytes: readBytes, bytesPerSecond: 1024 ** 2 })
    const damage = all
      .filter(({ of }) => this.#vaults.damaged.has(of.backup))
      .map(({ of }) => ({ object: 'packs/1.pack', what: 'a block does not read back', backups: [of] }))
    return { backups: all.length, readBytes, damage }
  }

  #read({ pool, point, chain }: SourcePoint): Content {
    const found = this.#pool(pool)
    for (const layer of chain) if (!found.has(layer)) throw refuse.hostFailure({ what: `layer ${layer} is missing` })
    return found.read(point.layer, point.point)
  }

  #pool(pool: PoolId): MemoryDriver {
    const found = this.#pools.get(pool)
    if (!found) throw refuse.hostFailure({ what: `pool ${pool} is not here` })
    return found
  }
}
