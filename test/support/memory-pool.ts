import { MemoryDriver } from '../../src/adapters/storage/memory/driver.ts'
import { newId } from '../../src/domain/ids.ts'
import type { TestPool } from './storage-fixtures.ts'

export function memoryPool(pointsPerLayer: 'one' | 'many'): TestPool {
  const driver = new MemoryDriver(newId(), pointsPerLayer)
  return {
    driver,
    write: async (layer, block, byte) => driver.write(layer, block, byte),
    read: async (layer, point) => driver.read(layer, point),
    openForWriting: async (layer) => {
      const close = driver.openForWriting(layer)
      return async () => close()
    },
    another: async () => driver,
    upload: async (name, _format, sizeBytes, content) => {
      const blocks = new Map(Object.entries(content).map(([block, byte]) => [Number(block), byte]))
      driver.putUpload(name, { sizeBytes, blocks })
    },
    check: async () => undefined,
    close: async () => undefined,
  }
}
