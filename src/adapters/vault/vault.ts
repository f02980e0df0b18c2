/** A vault whose key is at hand: everything of `VaultMover` that needs no disk's own tools. */
import { randomBytes } from 'node:crypto'
import type { BackupId, Bytes, VolumeId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type { BlockSource, BlockTarget } from '../../ports/blocks.ts'
import type {
  BackupOutcome,
  BackupRef,
  Damage,
  FoundBackup,
  KeySlot,
  Report,
  SweepOutcome,
  VaultAccess,
  VaultIdentity,
  VerifyOutcome,
} from '../../ports/vault-mover.ts'
import type { VaultStore } from '../../ports/vault-store.ts'
import { Damaged } from './format/damage.ts'
import { VaultKeyring } from './format/keys.ts'
import { identityName, writerIn } from './format/names.ts'
import { formatVersion, type Measures, usualMeasures } from './format/shape.ts'
import { identityObject, isProved, readIdentity } from './identity.ts'
import { foundBackup, manifestsOf, volumesIn } from './list.ts'
import { Meter, Throttle } from './pace.ts'
import { deleteBackup, discardBackup } from './remove.ts'
import { restoreBackup } from './restore.ts'
import { sweepVolume } from './sweep.ts'
import { touches } from './touches.ts'
import { verifyVolume } from './verify.ts'
import { VolumeVault } from './volume.ts'
import { type Crew, inlineCrew } from './workers/crew.ts'
import { type Means, type Writing, writeBackup } from './write.ts'

export type { Writing } from './write.ts'

/** What of `VaultAccess` is needed once the store is open. */
export type VaultOpening = Pick<VaultAccess, 'vault' | 'key' | 'bytesPerSecond' | 'parallel'>

/** Makes the vault in an empty store. Repeated with the same id: succeeds. */
export async function makeVault(
  store: VaultStore,
  access: VaultOpening,
  identity: VaultIdentity,
  place: string,
): Promise<void> {
  const there = await readIdentity(store).catch(damagedIsThere)
  if (there === null) {
    for await (const _ of store.list('')) throw refuse.vaultNotEmpty({ place })
    await store.put(identityName, [identityObject(identity, keyringOf(access))])
  } else if (there === 'damaged' || there.vault !== identity.vault) throw refuse.vaultNotEmpty({ place })
}

const damagedIsThere = (error: unknown): 'damaged' => {
  if (error instanceof Damaged) return 'damaged'
  throw error
}

const keyringOf = ({ key }: VaultOpening): VaultKeyring => new VaultKeyring(Buffer.from(key, 'base64'))

/** Refused with `vaultUnreachable` where this vault does not lie. The store and the crew are closed by whoever made them. */
export async function openVault(
  store: VaultStore,
  access: VaultOpening,
  crew: Crew = inlineCrew,
  measures: Measures = usualMeasures,
): Promise<Vault> {
  const identity = await readIdentity(store).catch(damagedIsThere)
  if (identity === null || (identity !== 'damaged' && identity.vault !== access.vault))
    throw refuse.vaultUnreachable({ vault: access.vault })
  return new Vault(store, access, crew, measures)
}

export class Vault {
  readonly #store: VaultStore
  readonly #access: VaultOpening
  readonly #keys: VaultKeyring
  readonly #crew: Crew
  readonly #measures: Measures

  constructor(store: VaultStore, access: VaultOpening, crew: Crew, measures: Measures) {
    this.#store = store
    this.#access = access
    this.#keys = keyringOf(access)
    this.#crew = crew
    this.#measures = measures
  }

  /** Replaces the key slots; at least one stays. */
  async writeSlots(slots: readonly KeySlot[]): Promise<void> {
    if (slots.length === 0) throw refuse.malformed({ why: 'A vault keeps at least one recovery key.' })
    const identity = await readIdentity(this.#store).catch(damagedIsThere)
    if (identity === null) throw refuse.vaultUnreachable({ vault: this.#access.vault })
    const fresh = { format: formatVersion, vault: this.#access.vault, name: '', createdAt: new Date().toISOString() } as const
    const { format, vault, name, createdAt } = identity === 'damaged' ? fresh : identity
    await this.#store.replace(identityName, identityObject({ format, vault, name, createdAt, slots }, this.#keys))
  }

  /** Writes, reads and deletes a probe. */
  async test(): Promise<{ readonly freeBytes: Bytes | null }> {
    const name = `probe.${randomBytes(8).toString('hex')}`
    const bytes = randomBytes(4096)
    await this.#store.put(name, [bytes])
    const back = await this.#store.read(name)
    await this.#store.remove(name)
    if (back?.equals(bytes) !== true) throw refuse.hostFailure({ what: 'the vault did not give back what was written into it' })
    return { freeBytes: await this.#store.freeBytes() }
  }

  /** Resolves when the manifest, written last, was read back and agrees. The source is closed by whoever opened it. */
  writeBackup(request: Writing, source: BlockSource, report?: Report, signal?: AbortSignal): Promise<BackupOutcome> {
    const volume = this.#volume(request.of.volume)
    return this.#whole(volume, () => writeBackup(volume, request, source, this.#means(report, signal)))
  }

  /** Fills the target, which is blank. `rootHash`: what is to be restored; null: whatever the manifest says. */
  restoreBackup(
    { of, rootHash }: { readonly of: BackupRef; readonly rootHash: string | null },
    target: BlockTarget,
    report?: Report,
    signal?: AbortSignal,
  ): Promise<{ readonly writtenBytes: Bytes }> {
    const volume = this.#volume(of.volume)
    return this.#whole(volume, async () => {
      const manifest = await volume.find(of.backup)
      if (manifest === null) throw refuse.notFound({ what: 'Backup', id: of.backup })
      if (rootHash !== null && manifest.rootHash !== rootHash)
        throw new Damaged(volume.names.manifest(of.backup), 'it is not the backup that was asked for')
      return restoreBackup(volume, manifest, target, this.#means(report, signal))
    })
  }

  hasBackup(of: BackupRef): Promise<boolean> {
    const volume = this.#volume(of.volume)
    return this.#whole(volume, async () => (await volume.find(of.backup)) !== null)
  }

  /** The manifest goes; what only it needed goes with later sweeps. */
  deleteBackup(of: BackupRef): Promise<void> {
    return deleteBackup(this.#volume(of.volume), of)
  }

  /** Removes what an attempt to write the backup has left, manifest included. */
  discardBackup(of: BackupRef): Promise<void> {
    return discardBackup(this.#volume(of.volume), of)
  }

  /** All whole backups, the oldest of a volume first. Manifests that cannot be read are left out; `verify` names them. */
  async listBackups(): Promise<readonly FoundBackup[]> {
    const found: FoundBackup[] = []
    for (const volume of await volumesIn(this.#store))
      found.push(...(await manifestsOf(this.#volume(volume))).manifests.map(foundBackup))
    return found
  }

  /** Removes what was unneeded at the sweep before and is so now. Refused (`volumeBusy`) while a backup of the volume is being written. */
  sweepVolume(volume: VolumeId, signal?: AbortSignal): Promise<SweepOutcome> {
    const its = this.#volume(volume)
    return this.#whole(its, () => sweepVolume(its, signal))
  }

  /** Reads everything of a volume, or of the whole vault, back and proves it. */
  async verify(volume: VolumeId | null, report?: Report, signal?: AbortSignal): Promise<VerifyOutcome> {
    const means = this.#means(report, signal)
    const pace = { meter: new Meter(report), throttle: new Throttle(means.bytesPerSecond) }
    const outcome = { backups: 0, readBytes: 0, damage: [] as Damage[] }
    for (const each of volume === null ? await volumesIn(this.#store) : [volume]) {
      const verified = await verifyVolume(this.#volume(each), means, pace)
      outcome.backups += verified.backups
      outcome.readBytes += verified.readBytes
      outcome.damage.push(...verified.damage)
    }
    pace.meter.tell()
    return { ...outcome, damage: [...outcome.damage, ...(await this.#damagedIdentity())] }
  }

  /** Without it, the recovery key opens nothing. */
  async #damagedIdentity(): Promise<readonly Damage[]> {
    const identity = await readIdentity(this.#store).catch(damagedIsThere)
    if (identity !== 'damaged' && identity !== null && isProved(identity, this.#keys)) return []
    const backups = (await this.listBackups()).map(({ volume, backup, project }) => ({ volume, backup, project }))
    const what = "it is not what was written; make a new recovery key with 'comeback vault kit'"
    return [{ object: identityName, what, backups }]
  }

  #volume(volume: VolumeId): VolumeVault {
    return new VolumeVault(this.#store, this.#keys, volume, this.#measures)
  }

  #means(report: Report | undefined, signal: AbortSignal | undefined): Means {
    const { bytesPerSecond, parallel } = this.#access
    return { crew: this.#crew, bytesPerSecond, parallel, report, signal }
  }

  /** Says damage in words, with the backups that it touches. */
  async #whole<Result>(volume: VolumeVault, work: () => Promise<Result>): Promise<Result> {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof Damaged)) throw error
      throw refuse.backupDamaged({ object: error.object, backups: await backupsTouched(volume, error) })
    }
  }
}

async function backupsTouched(volume: VolumeVault, { object, id }: Damaged): Promise<readonly BackupId[]> {
  if (object.startsWith(`${volume.names.manifests}/`)) return [writerIn(object) as BackupId]
  const { manifests } = await manifestsOf(volume)
  const broken =
    id === null
      ? { objects: new Set([object]), ids: new Map() }
      : { objects: new Set<string>(), ids: new Map([[id.toString('hex'), object]]) }
  const touched = await touches(volume, manifests, broken, undefined)
  return touched.of(object).map(({ backup }) => backup)
}
