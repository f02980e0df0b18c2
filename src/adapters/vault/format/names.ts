/** Names of a volume's objects. What one attempt writes carries its backup's id and a random number drawn for the attempt. */
import { randomBytes } from 'node:crypto'
import type { BackupId, VolumeId } from '../../../domain/ids.ts'
import type { ObjectName } from '../../../ports/vault-store.ts'

export const identityName: ObjectName = 'vault.json'
export const volumesPrefix = 'volumes'

/** What a pack or an index object is called within its folder: `{writer}.{attempt}-{ordinal}`. 28 bytes where it is written in binary. */
export type Stem = string
export const stemBytes = 28

/**
 * 16 hexadecimal digits. The first six count how often pages have been lent on the way to it: an attempt has a higher order than
 * whatever it shares with, and that can be seen from the names alone.
 */
export const newAttempt = (order: number): string => order.toString(16).padStart(6, '0') + randomBytes(5).toString('hex')
export const orderOf = (attempt: string): number => Number.parseInt(attempt.slice(0, 6), 16)

export const stemOf = (writer: string, attempt: string, ordinal: number): Stem => `${writer}.${attempt}-${ordinal}`

export function writeStem(stem: Stem, to: Buffer, offset: number): void {
  const [writer = '', rest = ''] = stem.split('.')
  const [attempt = '', ordinal = ''] = rest.split('-')
  to.write(writer.replaceAll('-', ''), offset, 'hex')
  to.write(attempt, offset + 16, 'hex')
  to.writeUInt32BE(Number(ordinal), offset + 24)
}

export function readStem(from: Buffer, offset: number): Stem {
  const hex = from.toString('hex', offset, offset + 16)
  const writer = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
  return stemOf(writer, from.toString('hex', offset + 16, offset + 24), from.readUInt32BE(offset + 24))
}

export class VolumeNames {
  readonly prefix: string

  constructor(volume: VolumeId) {
    this.prefix = `${volumesPrefix}/${volume}`
  }

  get manifests(): string {
    return `${this.prefix}/backups`
  }
  get packs(): string {
    return `${this.prefix}/packs`
  }
  get indexes(): string {
    return `${this.prefix}/index`
  }
  get markers(): string {
    return `${this.prefix}/running`
  }
  get sweep(): ObjectName {
    return `${this.prefix}/sweep`
  }
  manifest(backup: BackupId): ObjectName {
    return `${this.manifests}/${backup}.manifest`
  }
  pack(stem: Stem): ObjectName {
    return `${this.packs}/${stem}.pack`
  }
  index(stem: Stem): ObjectName {
    return `${this.indexes}/${stem}.index`
  }
  marker(backup: BackupId, attempt: string): ObjectName {
    return `${this.markers}/${backup}.${attempt}`
  }
}

/** The last part of a name, without what follows its last dot. */
export const stemIn = (name: ObjectName): Stem => name.slice(name.lastIndexOf('/') + 1, name.lastIndexOf('.'))
/** Parts of a UUID. */
const writerParts = 5
/** The attempt of a pack, an index object or a marker. */
export const attemptIn = (name: ObjectName): string =>
  name
    .slice(name.lastIndexOf('/') + 1)
    .split(/[.-]/)
    .at(writerParts) ?? ''
/** The id with which the last part of a name begins. */
export const writerIn = (name: ObjectName): string => name.slice(name.lastIndexOf('/') + 1).split('.')[0] ?? ''
