import { MemoryVaultStore } from '../support/memory-vault-store.ts'
import { vaultStoreConformance } from './vault-store.ts'

vaultStoreConformance('memory', async () => {
  const store = new MemoryVaultStore()
  await store.put('vault.json', [Buffer.from('{}')])
  return { store, another: async () => store, end: async () => undefined }
})
