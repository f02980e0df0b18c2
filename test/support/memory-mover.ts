/**
 * `VaultMover` over pools in memory, in both shapes, and the vault itself over stores in memory: the product's own format, without
 * processes or disks. Blocks of these pools hold one byte each.
 */

import type { MemoryDriver } from '../../src/adapters/storage/memory/driver.ts'
import { readIdentity } from '../../src/adapters/vault/identity.ts'
import { makeVault, openVault, type Vault } from '../../src/adapters/vault/vault.ts'
import type { LayerId, PoolId } from '../../src/domain/ids.ts'
import { refuse } from '../../src/domain/refusals.ts'
import type { BlockTarget } from '../../src/ports/blocks.ts'
import type { SourcePoint, VaultAccess, VaultMover } from '../../src/ports/vault-mover.ts'
import { memorySource } from './memory-disk.ts'
import { MemoryVaultStore } from './memory-vault-store.ts'
import { blockBytes } from './storage-fixtures.ts'

type Pools = ReadonlyMap<PoolId, MemoryDriver>

export class MemoryMoverOfVaults implements VaultMover {
  readonly #pools: Pools
  /** By directory. */
  readonly stores = new Map<string, MemoryVaultStore>()

  constructor(pools: Pools) {
    this.#pools = pools
  }

  makeVault: VaultMover['makeVault'] = async (access, identity) => {
    const { directory } = access.place
    const store = this.stores.get(directory) ?? new MemoryVaultStore()
    this.stores.set(directory, store)
    await makeVault(store, access, identity, directory)
  }

  readIdentity: VaultMover['readIdentity'] = async ({ directory }) => {
    const found = await readIdentity(this.stores.get(directory) ?? new MemoryVaultStore())
    if (found === null) return null
    const { proof: _, ...identity } = found
    return identity
  }

  writeSlots: VaultMover['writeSlots'] = async (access, slots) => (await this.#vault(access)).writeSlots(slots)
  testVault: VaultMover['testVault'] = async (access) => ({ ...(await (await this.#vault(access)).test()), sharesDiskWith: [] })

  writeBackup: VaultMover['writeBackup'] = async (access, { of, source, previous, facts }, report, signal) => {
    const before = previous?.point?.pool === source.pool ? this.#read(previous.point) : undefined
    const base = previous && { backup: previous.backup, whyNot: previous.whyNot }
    const disk = memorySource(this.#read(source), before)
    return (await this.#vault(access)).writeBackup({ of, previous: base, facts }, disk, report, signal)
  }

  discardBackup: VaultMover['discardBackup'] = async (access, of) => (await this.#vault(access)).discardBackup(of)

  restoreBackup: VaultMover['restoreBackup'] = async (access, { of, rootHash, target }, report, signal) => {
    const layer = layerTarget(this.#pool(target.pool), target.layer, target.sizeBytes)
    return (await this.#vault(access)).restoreBackup({ of, rootHash }, layer, report, signal)
  }

  hasBackup: VaultMover['hasBackup'] = async (access, of) => (await this.#vault(access)).hasBackup(of)
  deleteBackup: VaultMover['deleteBackup'] = async (access, of) => (await this.#vault(access)).deleteBackup(of)
  listBackups: VaultMover['listBackups'] = async (access) => (await this.#vault(access)).listBackups()
  sweepVolume: VaultMover['sweepVolume'] = async (access, volume, signal) =>
    (await this.#vault(access)).sweepVolume(volume, signal)
  verify: VaultMover['verify'] = async (access, volume, report, signal) =>
    (await this.#vault(access)).verify(volume, report, signal)

  async #vault(access: VaultAccess): Promise<Vault> {
    const store = this.stores.get(access.place.directory)
    if (store === undefined) throw refuse.vaultUnreachable({ vault: access.vault })
    return await openVault(store, access)
  }

  #read({ pool, point, chain, sizeBytes }: SourcePoint): Buffer {
    const found = this.#pool(pool)
    for (const layer of chain) if (!found.has(layer)) throw refuse.hostFailure({ what: `layer ${layer} is missing` })
    const content = Buffer.alloc(sizeBytes)
    for (const [block, byte] of Object.entries(found.read(point.layer, point.point)))
      content.fill(byte, Number(block) * blockBytes, (Number(block) + 1) * blockBytes)
    return content
  }

  #pool(pool: PoolId): MemoryDriver {
    const found = this.#pools.get(pool)
    if (!found) throw refuse.notFound({ what: 'Pool', id: pool })
    return found
  }
}

/** Takes whole blocks of one byte each, as such a pool's points are made of. */
function layerTarget(pool: MemoryDriver, layer: LayerId, sizeBytes: number): BlockTarget {
  return {
    sizeBytes,
    write: async (offset, data) => {
      for (let at = 0; at < data.length; at += blockBytes) {
        const block = data.subarray(at, at + blockBytes)
        const byte = block[0] ?? 0
        if ((offset + at) % blockBytes !== 0 || !block.every((each) => each === byte))
          throw new Error(`block at ${offset + at} was never in a pool in memory`)
        pool.write(layer, (offset + at) / blockBytes, byte)
      }
    },
    flush: async () => undefined,
    close: async () => undefined,
  }
}
