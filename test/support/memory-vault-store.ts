/** A vault's objects in memory. What was put is there at once and for good; nothing of it can be changed from outside by accident. */
import type { ObjectName, VaultStore } from '../../src/ports/vault-store.ts'

const isName = /^[\w-][\w.-]*(\/[\w-][\w.-]*)*$/

function proveName(name: ObjectName): void {
  if (!isName.test(name)) throw new Error(`'${name}' is no name of an object`)
}

export class MemoryVaultStore implements VaultStore {
  readonly objects = new Map<ObjectName, Buffer>()

  async put(name: ObjectName, data: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void> {
    proveName(name)
    const parts: Buffer[] = []
    for await (const part of data) parts.push(Buffer.from(part))
    this.objects.set(name, Buffer.concat(parts))
  }

  async replace(name: ObjectName, data: Uint8Array): Promise<void> {
    this.objects.set(name, Buffer.from(data))
  }

  async read(name: ObjectName, range?: { readonly offset: number; readonly length: number }): Promise<Buffer | null> {
    proveName(name)
    const object = this.objects.get(name)
    if (object === undefined) return null
    const from = range === undefined ? 0 : range.offset < 0 ? Math.max(0, object.length + range.offset) : range.offset
    return Buffer.from(object.subarray(from, range === undefined ? undefined : from + range.length))
  }

  async *list(prefix: string): AsyncGenerator<{ readonly name: ObjectName; readonly sizeBytes: number }> {
    for (const [name, { length }] of [...this.objects])
      if (prefix === '' || name.startsWith(`${prefix}/`)) yield { name, sizeBytes: length }
  }

  async remove(name: ObjectName): Promise<void> {
    this.objects.delete(name)
  }

  async freeBytes(): Promise<null> {
    return null
  }

  async close(): Promise<void> {}
}
