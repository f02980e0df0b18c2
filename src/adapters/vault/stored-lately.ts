/** Ids that this backup has stored already, so that equal blocks are stored once. Bounded: what was long ago is forgotten. */
const slots = 2 ** 18
const slotBytes = 16

export class StoredLately {
  /** 4 MiB: the first 16 bytes of the id that was last in the slot. Ids are as good as random. */
  readonly #table = Buffer.alloc(slots * slotBytes)

  /** Whether the id has not been seen lately; it has been from now on. */
  isNew(id: Buffer): boolean {
    const at = (id.readUInt32BE(28) % slots) * slotBytes
    if (id.compare(this.#table, at, at + slotBytes, 0, slotBytes) === 0) return false
    id.copy(this.#table, at, 0, slotBytes)
    return true
  }
}
