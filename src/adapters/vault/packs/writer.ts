/**
 * Fills packs with blobs, one pack after the other. A pack goes to the store while it is being filled; the ones before it may
 * still be on their way to the disk.
 */
import type { ProjectId } from '../../../domain/ids.ts'
import type { VaultStore } from '../../../ports/vault-store.ts'
import { sealBlob } from '../format/blob.ts'
import { closing } from '../format/container.ts'
import type { Codec, Entry } from '../format/entry.ts'
import { type Header, newHeader } from '../format/header.ts'
import type { VaultKeyring } from '../format/keys.ts'
import { type Stem, stemOf, type VolumeNames } from '../format/names.ts'
import { packFooter } from '../format/pack.ts'
import { blockBytes, type Measures } from '../format/shape.ts'
import type { Crew } from '../workers/crew.ts'
import type { Identified } from '../workers/jobs.ts'
import { Channel } from './channel.ts'

/** Packs that are being written at once: one is filled while others are synced. */
const packsUnderWay = 3
/** Bytes that may wait for the store. */
const waitingBytes = 4 * 1024 * 1024

type OpenPack = {
  readonly stem: Stem
  readonly header: Header
  readonly channel: Channel
  readonly entries: Entry[]
  readonly stored: Promise<void>
  bytes: number
  nextNumber: number
  /** Bytes of jobs whose blobs are to come, before they are compressed. */
  awaited: number
  jobs: number
  isFull: boolean
}

export type PackedBlob = (entry: Entry, pack: Stem) => void

export type PackWriting = {
  readonly store: VaultStore
  readonly keys: VaultKeyring
  readonly names: VolumeNames
  readonly project: ProjectId
  readonly writer: string
  readonly attempt: string
  /** Counts the packs of the attempt, of all its writers. */
  readonly nextOrdinal: () => number
  readonly measures: Measures
  readonly crew: Crew
  readonly onBlob: PackedBlob
}

export class PackWriter {
  readonly #writing: PackWriting
  readonly #underWay = new Set<Promise<void>>()
  #open: OpenPack | null = null
  #failure: { readonly error: unknown } | null = null
  #written: { stem: Stem; bytes: number }[] = []

  constructor(writing: PackWriting) {
    this.#writing = writing
  }

  /** Packs that were closed, and what they take. */
  get written(): readonly { readonly stem: Stem; readonly bytes: number }[] {
    return this.#written
  }

  /** Stores the picked blocks. Resolves when they have been handed to the store, which may still be writing. */
  async addBlocks({ data, ids }: Identified, picks: readonly number[]): Promise<void> {
    const pack = await this.#packFor(picks.length * blockBytes)
    const first = pack.nextNumber
    pack.nextNumber += picks.length
    const idsOf = picks.map((block) => Buffer.from(ids.subarray(block * 32, (block + 1) * 32)))
    try {
      const sealed = await this.#writing.crew.do('seal', { data, ids, picks, packKey: pack.header.key, first })
      const blobs = idsOf.map((id, at) => ({
        id,
        level: 0,
        codec: sealed.codecs[at] ?? 0,
        number: first + at,
        length: sealed.lengths[at] ?? 0,
      }))
      this.#append(pack, [sealed.bytes], blobs)
    } finally {
      this.#settle(pack, picks.length * blockBytes)
    }
    await pack.channel.room()
    this.#check()
  }

  async addPage(level: number, id: Buffer, content: Buffer): Promise<void> {
    const pack = await this.#packFor(content.length)
    const number = pack.nextNumber++
    const { codec, parts } = sealBlob(pack.header.key, number, id, level, content)
    const length = parts[0].length + parts[1].length
    this.#append(pack, parts, [{ id: Buffer.from(id), level, codec, number, length }])
    this.#settle(pack, content.length)
    await pack.channel.room()
    this.#check()
  }

  /** Resolves when all packs survive a power cut. */
  async finish(): Promise<void> {
    if (this.#open !== null) this.#closeWhenDone(this.#open)
    await Promise.all(this.#underWay)
    this.#check()
  }

  /** Ends what is being written; it is not waited for longer than the store takes to give up. */
  async abandon(error: unknown): Promise<void> {
    this.#failure ??= { error }
    this.#open?.channel.fail(error)
    await Promise.allSettled(this.#underWay)
  }

  async #packFor(bytes: number): Promise<OpenPack> {
    this.#check()
    while (this.#open === null && this.#underWay.size >= packsUnderWay) {
      await Promise.race(this.#underWay)
      this.#check()
    }
    this.#open ??= this.#newPack()
    const pack = this.#open
    pack.awaited += bytes
    pack.jobs++
    if (pack.bytes + pack.awaited >= this.#writing.measures.packBytes) {
      pack.isFull = true
      this.#open = null
    }
    return pack
  }

  #newPack(): OpenPack {
    const { store, keys, names, writer, attempt, nextOrdinal } = this.#writing
    const stem = stemOf(writer, attempt, nextOrdinal())
    const channel = new Channel(waitingBytes)
    const stored = store.put(names.pack(stem), channel).catch((error: unknown) => {
      this.#failure ??= { error }
      channel.close()
    })
    const passing = stored.finally(() => this.#underWay.delete(passing))
    this.#underWay.add(passing)
    const header = newHeader('pack', keys)
    return { stem, header, channel, entries: [], stored, bytes: 0, nextNumber: 0, awaited: 0, jobs: 0, isFull: false }
  }

  #append(pack: OpenPack, bytes: readonly Uint8Array[], blobs: readonly (Omit<Entry, 'offset'> & { codec: Codec })[]): void {
    for (const blob of blobs) {
      const entry = { ...blob, offset: pack.bytes }
      pack.bytes += blob.length
      pack.entries.push(entry)
      this.#writing.onBlob(entry, pack.stem)
    }
    for (const part of bytes) pack.channel.push(part)
  }

  #settle(pack: OpenPack, bytes: number): void {
    pack.awaited -= bytes
    pack.jobs--
    if (pack.isFull && pack.jobs === 0) this.#closeWhenDone(pack)
  }

  #closeWhenDone(pack: OpenPack): void {
    pack.isFull = true
    if (this.#open === pack) this.#open = null
    if (pack.jobs > 0) return
    if (this.#failure !== null) {
      pack.channel.fail(this.#failure.error)
      return
    }
    const end = closing(pack.header, packFooter(this.#writing.project, pack.entries))
    pack.channel.push(end)
    pack.channel.end()
    this.#written.push({ stem: pack.stem, bytes: pack.bytes + end.length })
  }

  #check(): void {
    if (this.#failure !== null) throw this.#failure.error
  }
}
