/** What one volume has in a vault, and the documents that say so. */
import type { BackupId, Bytes, VolumeId } from '../../domain/ids.ts'
import type { BackupFacts, BackupRef } from '../../ports/vault-mover.ts'
import type { ObjectName, VaultStore } from '../../ports/vault-store.ts'
import { Damaged } from './format/damage.ts'
import { readDocument, sealDocument } from './format/document.ts'
import type { VaultKeyring } from './format/keys.ts'
import { attemptIn, VolumeNames, writerIn } from './format/names.ts'
import { type Measures, usualMeasures } from './format/shape.ts'

/** Written last: what it says is whole. */
export type Manifest = {
  readonly of: BackupRef
  /** Under which the backup's own packs and index objects lie, and how many packs there are. */
  readonly attempt: string
  readonly packs: number
  /** The sweep's generation when it was begun. */
  readonly generation: number
  readonly sizeBytes: Bytes
  /** Hexadecimal: the id of the tree's root, of the level that the size asks for. */
  readonly root: string
  readonly rootHash: string
  /** Blocks that are not zeros. */
  readonly usedBlocks: number
  /** The backup that lent pages, whether or not it told what changed. Null: all that it needs is in its own packs. */
  readonly shares: BackupId | null
  readonly readBytes: Bytes
  readonly storedBytes: Bytes
  readonly base: BackupId | null
  readonly why: string | null
  readonly writtenAt: string
  readonly facts: BackupFacts
}

/**
 * What sweeps of the volume have left. A manifest counts if it was begun at `since` or later, or is `known`: the sweep has seen
 * it. So a writer that was thought dead cannot commit what a sweep does not know of. `since` is below `generation` only while a
 * sweep looks which manifests there are.
 */
export type SweepState = {
  readonly generation: number
  readonly since: number
  readonly known: readonly BackupId[]
  /** Objects that were unreferenced at the last mark. */
  readonly marked: readonly ObjectName[]
}

const neverSwept: SweepState = { generation: 0, since: 0, known: [], marked: [] }
/** Every manifest counts, and the next sweep begins anew. */
export const damagedState: SweepState = { generation: -1, since: -1, known: [], marked: [] }

/** A backup is being written. */
export type Marker = {
  readonly backup: BackupId
  readonly attempt: string
  readonly generation: number
  readonly startedAt: string
}

export class VolumeVault {
  readonly store: VaultStore
  readonly keys: VaultKeyring
  readonly volume: VolumeId
  readonly names: VolumeNames
  readonly measures: Measures

  constructor(store: VaultStore, keys: VaultKeyring, volume: VolumeId, measures: Measures = usualMeasures) {
    this.store = store
    this.keys = keys
    this.volume = volume
    this.names = new VolumeNames(volume)
    this.measures = measures
  }

  async sweepState(): Promise<SweepState> {
    try {
      return (await readDocument<SweepState>(this.store, this.names.sweep, 'sweep', this.keys)) ?? neverSwept
    } catch (error) {
      if (error instanceof Damaged) return damagedState
      throw error
    }
  }

  async writeSweepState(state: SweepState): Promise<void> {
    await this.store.replace(this.names.sweep, sealDocument(this.names.sweep, 'sweep', state, this.keys))
  }

  /** Null: there is none. Whether it is whole says `wholeness`. Throws `Damaged`. */
  readManifest(backup: BackupId): Promise<Manifest | null> {
    return readDocument<Manifest>(this.store, this.names.manifest(backup), 'manifest', this.keys)
  }

  async writeManifest(manifest: Manifest): Promise<void> {
    const name = this.names.manifest(manifest.of.backup)
    await this.store.replace(name, sealDocument(name, 'manifest', manifest, this.keys))
  }

  /** The whole backup of the id, or null. */
  async find(backup: BackupId): Promise<Manifest | null> {
    const manifest = await this.readManifest(backup)
    if (manifest === null) return null
    return (await this.wholeness())(manifest) === 'whole' ? manifest : null
  }

  /**
   * Judges manifests. `foreign`: a sweep does not know of it, so it may have taken what it needs · `lacking`: packs that it wrote
   * itself are not there. Only what is whole is ever listed.
   */
  async wholeness(): Promise<(manifest: Manifest) => 'whole' | 'foreign' | 'lacking'> {
    const state = await this.sweepState()
    const packs = new Map<string, number>()
    for (const name of await this.namesUnder(this.names.packs)) {
      if (!name.endsWith('.pack')) continue // what somebody laid beside them is none
      const written = `${writerIn(name)}.${attemptIn(name)}`
      packs.set(written, (packs.get(written) ?? 0) + 1)
    }
    return (manifest) => {
      if (!counts(manifest, state)) return 'foreign'
      return (packs.get(`${manifest.of.backup}.${manifest.attempt}`) ?? 0) === manifest.packs ? 'whole' : 'lacking'
    }
  }

  async backupsThere(): Promise<readonly BackupId[]> {
    return (await this.namesUnder(this.names.manifests)).map((name) => writerIn(name) as BackupId)
  }

  async namesUnder(prefix: string): Promise<readonly ObjectName[]> {
    const names: ObjectName[] = []
    for await (const { name } of this.store.list(prefix)) names.push(name)
    return names
  }

  markers(): Promise<readonly ObjectName[]> {
    return this.namesUnder(this.names.markers)
  }
}

const counts = (manifest: Manifest, state: SweepState): boolean =>
  manifest.generation >= state.since || state.known.includes(manifest.of.backup)
