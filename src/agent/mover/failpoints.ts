/** Where campaigns end a mover: around everything that it makes last. */
import { failpoint } from '../../failpoints.ts'
import type { BlockTarget } from '../../ports/blocks.ts'
import type { ObjectName, VaultStore } from '../../ports/vault-store.ts'

const kindOf = (name: ObjectName): 'mover.manifest' | 'mover.object' =>
  name.endsWith('.manifest') ? 'mover.manifest' : 'mover.object'

export function storeWithFailpoints(store: VaultStore): VaultStore {
  const around = async (name: ObjectName, put: () => Promise<void>): Promise<void> => {
    await failpoint(`${kindOf(name)}.before-put`)
    await put()
    await failpoint(`${kindOf(name)}.after-put`)
  }
  return {
    put: (name, data) => around(name, () => store.put(name, data)),
    replace: (name, data) => around(name, () => store.replace(name, data)),
    read: (name, range) => store.read(name, range),
    list: (prefix) => store.list(prefix),
    remove: async (name) => {
      await store.remove(name)
      await failpoint('mover.object.after-remove')
    },
    freeBytes: () => store.freeBytes(),
    close: () => store.close(),
  }
}

export const targetWithFailpoints = (target: BlockTarget): BlockTarget => ({
  sizeBytes: target.sizeBytes,
  write: (offset, data) => target.write(offset, data),
  flush: async () => {
    await failpoint('mover.restore.before-flush')
    await target.flush()
    await failpoint('mover.restore.after-flush')
  },
  close: () => target.close(),
})
