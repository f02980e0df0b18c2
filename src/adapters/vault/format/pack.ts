/** A pack's footer: whose content it holds, and its blobs in the order in which they lie. */
import type { ProjectId } from '../../../domain/ids.ts'
import type { ObjectName, VaultStore } from '../../../ports/vault-store.ts'
import { openContainer } from './container.ts'
import { type Entry, entryBytes, readEntry, writeEntry } from './entry.ts'
import type { VaultKeyring } from './keys.ts'

/** `project` names the key of its hashes. */
export type Pack = {
  readonly name: ObjectName
  readonly key: Buffer
  readonly project: ProjectId
  readonly entries: readonly Entry[]
}

export function packFooter(project: ProjectId, entries: readonly Entry[]): Buffer {
  const owner = Buffer.from(project)
  const footer = Buffer.alloc(2 + owner.length + 4 + entries.length * entryBytes)
  footer.writeUInt16BE(owner.length, 0)
  owner.copy(footer, 2)
  footer.writeUInt32BE(entries.length, 2 + owner.length)
  entries.forEach((entry, at) => {
    writeEntry(entry, footer, 6 + owner.length + at * entryBytes)
  })
  return footer
}

/** Null: there is no such object. Throws `Damaged`. */
export async function openPack(store: VaultStore, name: ObjectName, keys: VaultKeyring): Promise<Pack | null> {
  const found = await openContainer(store, name, 'pack', keys)
  if (found === null) return null
  const { footer, key } = found
  const ownerBytes = footer.readUInt16BE(0)
  const project = footer.toString('utf8', 2, 2 + ownerBytes) as ProjectId
  const entries = Array.from({ length: footer.readUInt32BE(2 + ownerBytes) }, (_, at) =>
    readEntry(footer, 6 + ownerBytes + at * entryBytes),
  )
  return { name, key, project, entries }
}
