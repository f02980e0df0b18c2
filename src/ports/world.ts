/** What a saga may touch: the database, the pools, the hosts, the vaults, the time. Calls to pools, hosts and vaults are fenced by the operation's epoch. */
import type { HostId, PoolId } from '../domain/ids.ts'
import type { Clock } from './clock.ts'
import type { HostAgent } from './host-agent.ts'
import type { Secrets } from './secrets.ts'
import type { StorageDriver } from './storage-driver.ts'
import type { Db } from './tables.ts'
import type { VaultMover } from './vault-mover.ts'

export type World = {
  readonly db: Db
  readonly clock: Clock
  readonly storage: (pool: PoolId) => StorageDriver
  readonly hosts: (host: HostId) => HostAgent
  /** Moves data between the pools that this host reaches and vaults. */
  readonly mover: (host: HostId) => VaultMover
  readonly secrets: Pick<Secrets, 'open'>
}
