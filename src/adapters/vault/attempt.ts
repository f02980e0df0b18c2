/** One attempt to write a backup: what sweeps must know of it, the packs and index objects it makes, and its end. */
import { refuse } from '../../domain/refusals.ts'
import type { BackupRef } from '../../ports/vault-mover.ts'
import { sealDocument } from './format/document.ts'
import { newAttempt, orderOf } from './format/names.ts'
import { SessionIndex } from './index/session.ts'
import { PackWriter } from './packs/writer.ts'
import { discardBackup } from './remove.ts'
import type { Manifest, Marker, VolumeVault } from './volume.ts'
import type { Crew } from './workers/crew.ts'

type Told = Omit<Manifest, 'of' | 'attempt' | 'packs' | 'generation' | 'storedBytes' | 'writtenAt'>

export class Attempt {
  readonly blocks: PackWriter
  readonly pages: PackWriter
  /** Aborted by whoever asked for the backup. */
  readonly signal: AbortSignal
  readonly #volume: VolumeVault
  readonly #of: BackupRef
  readonly #marker: Marker
  readonly #index: SessionIndex
  readonly #stop: AbortController

  private constructor(volume: VolumeVault, of: BackupRef, marker: Marker, crew: Crew, signal: AbortSignal | undefined) {
    this.#volume = volume
    this.#of = of
    this.#marker = marker
    this.#stop = new AbortController()
    this.signal = signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal])
    const { store, keys, names, measures } = volume
    const by = { store, keys, names, measures, writer: of.backup, attempt: marker.attempt }
    this.#index = new SessionIndex(by)
    let packs = 0
    const writing = {
      ...by,
      project: of.project,
      nextOrdinal: () => packs++,
      crew,
      onBlob: this.#index.add.bind(this.#index),
    }
    this.blocks = new PackWriter(writing)
    this.pages = new PackWriter(writing)
  }

  /** What earlier attempts left is removed. A sweep that begins from now on sees the marker. `lender`: whose pages may be shared. */
  static async begin(
    volume: VolumeVault,
    of: BackupRef,
    lender: Manifest | null,
    { crew, signal }: { readonly crew: Crew; readonly signal: AbortSignal | undefined },
  ): Promise<Attempt> {
    signal?.throwIfAborted()
    await discardBackup(volume, of)
    const attempt = newAttempt(lender === null ? 0 : orderOf(lender.attempt) + 1)
    const name = volume.names.marker(of.backup, attempt)
    const marker = { backup: of.backup, attempt, generation: 0, startedAt: new Date().toISOString() }
    await volume.store.put(name, [sealDocument(name, 'marker', marker, volume.keys)])
    const { generation } = await volume.sweepState()
    return new Attempt(volume, of, { ...marker, generation }, crew, signal)
  }

  /** Does the work; when it fails, what is being written is ended. */
  async guard<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      return await work()
    } catch (error) {
      this.#stop.abort(error)
      await Promise.all([this.blocks.abandon(error), this.pages.abandon(error)])
      throw error
    }
  }

  /** Resolves when the backup is whole, by what was read back. */
  async commit(told: Told): Promise<Manifest> {
    const { of, marker } = { of: this.#of, marker: this.#marker }
    await this.guard(() => Promise.all([this.blocks.finish(), this.pages.finish()]))
    await this.#index.finish()
    const written = [...this.blocks.written, ...this.pages.written]
    await this.#provePacks(new Map(written.map(({ stem, bytes }) => [this.#volume.names.pack(stem), bytes])))
    const manifest: Manifest = {
      ...told,
      of,
      attempt: marker.attempt,
      packs: written.length,
      generation: marker.generation,
      storedBytes: written.reduce((sum, { bytes }) => sum + bytes, this.#index.storedBytes),
      writtenAt: new Date().toISOString(),
    }
    this.signal.throwIfAborted()
    if (!(await this.#isUndisturbed())) throw refuse.sweptMeanwhile()
    await this.#volume.writeManifest(manifest)
    const back = await this.#volume.readManifest(of.backup)
    if (back?.attempt !== marker.attempt || back.rootHash !== manifest.rootHash || back.sizeBytes !== manifest.sizeBytes)
      throw refuse.hostFailure({ what: 'the manifest that was read back is not the one that was written' })
    if (await this.#isCommitted()) return manifest
    await this.#volume.store.remove(this.#volume.names.manifest(of.backup))
    throw refuse.sweptMeanwhile()
  }

  /** All packs are there, as long as they were written. */
  async #provePacks(written: ReadonlyMap<string, number>): Promise<void> {
    const missing = new Map(written)
    for await (const { name, sizeBytes } of this.#volume.store.list(this.#volume.names.packs))
      if (missing.get(name) === sizeBytes) missing.delete(name)
    if (missing.size > 0) throw refuse.hostFailure({ what: `${missing.size} packs of the backup are not in the vault` })
  }

  /** No sweep has begun since this attempt has, and nobody has discarded it. */
  async #isUndisturbed(): Promise<boolean> {
    const { backup, attempt, generation } = this.#marker
    const marker = await this.#volume.store.read(this.#volume.names.marker(backup, attempt))
    return marker !== null && (await this.#volume.sweepState()).generation === generation
  }

  /** Or a sweep that came after the manifest has seen it, and that it was whole. */
  async #isCommitted(): Promise<boolean> {
    if (await this.#isUndisturbed()) return true
    const { since, generation, known } = await this.#volume.sweepState()
    return since === generation && known.includes(this.#of.backup) && (await this.#volume.find(this.#of.backup)) !== null
  }

  /** Sweeps need not wait for this attempt any more. */
  async end(): Promise<void> {
    await this.#volume.store.remove(this.#volume.names.marker(this.#of.backup, this.#marker.attempt))
  }
}
