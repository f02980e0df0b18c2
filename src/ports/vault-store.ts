/**
 * Where a vault's objects lie: a directory now, an S3 bucket later. Objects are written whole, once, under a name that is
 * never used for anything else, but for the few that say so; they are read in parts and removed.
 *
 * The contract every store passes (test/conformance/vault-store.ts):
 * - `put` resolves when the object survives a power cut under its name, whole; before that nothing is seen under the name.
 * - A store whose place has gone (unmounted, unreachable) rejects with `vaultUnreachable`, and never writes elsewhere.
 * - A store without room rejects with `vaultFull`.
 */
import type { Bytes } from '../domain/ids.ts'

/** Parts joined by `/`, each of [A-Za-z0-9._-], none starting with a dot. */
export type ObjectName = string

export interface VaultStore {
  put(name: ObjectName, data: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void>
  /** Like `put`, in place of what has the name: readers see the one or the other. */
  replace(name: ObjectName, data: Uint8Array): Promise<void>
  /** Null: there is no such object. Fewer bytes than asked for only at the object's end; a negative offset counts from the end. */
  read(name: ObjectName, range?: { readonly offset: Bytes; readonly length: Bytes }): Promise<Buffer | null>
  /** Names and sizes of all objects under the prefix (whole parts), in no order; objects that are being written are not among them. */
  list(prefix: string): AsyncIterable<{ readonly name: ObjectName; readonly sizeBytes: Bytes }>
  /** Removing what is gone succeeds. Resolves when the removal survives a power cut. */
  remove(name: ObjectName): Promise<void>
  /** Null: it cannot be told. */
  freeBytes(): Promise<Bytes | null>
  close(): Promise<void>
}
