/**
 * QEMU's names for our layers. A node name has at most 31 characters and begins with a letter, so a layer's uuid is written in
 * 22 characters of base64url; the layer is read back from the name, never from a file's path.
 */
import { join } from 'node:path'
import { asId, type InstanceId, isUuid, type LayerId } from '../../domain/ids.ts'

const short = (uuid: string): string => Buffer.from(uuid.replaceAll('-', ''), 'hex').toString('base64url')

export const nodeOf = (layer: LayerId): string => `l${short(layer)}`

/** The node of the layer's file, below the node that reads its format. */
export const fileNodeOf = (layer: LayerId): string => `f${short(layer)}`

export function layerOfNode(node: string): LayerId | null {
  if (!/^l[A-Za-z0-9_-]{22}$/.test(node)) return null
  const hex = Buffer.from(node.slice(1), 'base64url').toString('hex')
  const uuid = hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
  return isUuid(uuid) ? asId<LayerId>(uuid) : null
}

/** Short enough for a socket's path; one machine, one name. */
export const shortNameOf = (uuid: string): string => short(uuid)

/** Where a machine's sockets are: `control` and `events` for QMP, `qga`, and `cmd` for guests that listen on it. */
export const runDirectoryOf = (runDirectory: string, instance: InstanceId): string =>
  join(runDirectory, 'm', shortNameOf(instance))
