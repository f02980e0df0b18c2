/**
 * Where things lie in a pool directory. Every name inside is relative to it, so that the pool can be mounted elsewhere.
 *
 *   pool.json                 its id
 *   layers/<layer>.qcow2      a layer; a backing file is named without a directory
 *   layers/<layer>.json       the layer's record: the catalogue
 *   layers/<layer>.pushing    `layer` is being committed into the one it stands upon
 *   layers/blank.qcow2        holds nothing; bottom layers stand upon it while they are merged
 *   incoming/<upload>         data being received
 *   blobs/<image>             kernels and ramdisks
 *   database/<dump>           dumps of the database, newest name last
 */
import { join } from 'node:path'
import { asId, type ImageId, isUuid, type LayerId } from '../../../domain/ids.ts'
import { refuse } from '../../../domain/refusals.ts'

export const blankFile = 'blank.qcow2'
export const poolEntries = ['pool.json', 'layers', 'incoming', 'blobs', 'database', 'lost+found']

const uploadName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/

const uuidOr = <T extends string>(what: string, id: T): T => {
  if (!isUuid(id)) throw refuse.malformed({ why: `'${what}' must be a UUID.` })
  return id
}

export class PoolFiles {
  readonly directory: string
  readonly layers: string
  readonly incoming: string
  readonly blobs: string
  readonly database: string
  readonly identity: string

  constructor(directory: string) {
    this.directory = directory
    this.layers = join(directory, 'layers')
    this.incoming = join(directory, 'incoming')
    this.blobs = join(directory, 'blobs')
    this.database = join(directory, 'database')
    this.identity = join(directory, 'pool.json')
  }

  layer = (layer: LayerId): string => join(this.layers, layerFile(layer))
  record = (layer: LayerId): string => join(this.layers, `${uuidOr('layer', layer)}.json`)
  pushing = (layer: LayerId): string => join(this.layers, `${uuidOr('layer', layer)}.pushing`)
  blob = (image: ImageId): string => join(this.blobs, uuidOr('image', image))

  upload(name: string): string {
    if (!uploadName.test(name)) throw refuse.malformed({ why: 'The name of an upload holds characters that it must not.' })
    return join(this.incoming, name)
  }

  /** The message without the machine's own paths. */
  withoutPaths = (message: string): string =>
    message.replaceAll(`${this.directory}/`, '').replaceAll(this.directory, 'the pool')
}

export const layerFile = (layer: LayerId): string => `${uuidOr('layer', layer)}.qcow2`

/** The layer that a file name, with any directory before it, stands for. */
export function layerOfFile(name: string): LayerId | null {
  const bare = name.slice(name.lastIndexOf('/') + 1)
  const id = bare.endsWith('.qcow2') ? bare.slice(0, -'.qcow2'.length) : ''
  return isUuid(id) ? asId<LayerId>(id) : null
}
