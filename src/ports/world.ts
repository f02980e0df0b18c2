/** What a saga may touch: the database, the pools, the hosts, the time. Calls to pools and hosts are fenced by the operation's epoch. */
import type { HostId, PoolId } from '../domain/ids.ts'
import type { Clock } from './clock.ts'
import type { HostAgent } from './host-agent.ts'
import type { StorageDriver } from './storage-driver.ts'
import type { Db } from './tables.ts'

export type World = {
  readonly db: Db
  readonly clock: Clock
  readonly storage: (pool: PoolId) => StorageDriver
  readonly hosts: (host: HostId) => HostAgent
}
