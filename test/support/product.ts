/**
 * The whole controller over a database of the test's own, with a host and a pool in memory: everything is real but QEMU and
 * the disks. It listens on a port of its own, so that real clients can talk to it.
 */
import { createHash, randomUUID } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { pino } from 'pino'
import { afterAll } from 'vitest'
import { systemClock } from '../../src/adapters/clock.ts'
import { createClaims } from '../../src/adapters/database/claims.ts'
import { listen } from '../../src/adapters/database/listen.ts'
import { createOperations } from '../../src/adapters/database/operations.ts'
import { MemoryDriver } from '../../src/adapters/storage/memory/driver.ts'
import { vaultKeys } from '../../src/adapters/vault/keys.ts'
import { nativeFace } from '../../src/api/native/face.ts'
import { type ApiNeeds, buildServer } from '../../src/api/server.ts'
import { bootstrap } from '../../src/app/bootstrap.ts'
import { createCommands } from '../../src/app/commands/index.ts'
import type { Commands } from '../../src/app/commands.ts'
import { createPolicy } from '../../src/app/policy/policy.ts'
import { type HostId, newId } from '../../src/domain/ids.ts'
import { refuse } from '../../src/domain/refusals.ts'
import type { Operations } from '../../src/ports/operations.ts'
import type { Db } from '../../src/ports/tables.ts'
import type { World } from '../../src/ports/world.ts'
import { startWorker } from '../../src/sagas/engine/worker.ts'
import { sagas } from '../../src/sagas/index.ts'
import { makeDatabase } from './database.ts'
import { fastPace } from './engine.ts'
import { MemoryHost } from './memory-host.ts'
import { quietLog } from './quiet-log.ts'
import { testSecrets } from './secrets.ts'
import { MemoryMover, MemoryVaults } from './vaults.ts'

export const adminPassword = 'admin-secret'

export type Product = {
  readonly url: string
  readonly app: FastifyInstance
  readonly db: Db
  readonly operations: Operations
  readonly commands: Commands
  readonly host: MemoryHost
  readonly pool: MemoryDriver
  readonly vaults: MemoryVaults
  readonly mover: MemoryMover
  /** Lines that the server logged. */
  readonly logged: readonly string[]
}

type Options = {
  /** A host that behaves differently. */
  readonly makeHost?: (pools: readonly MemoryDriver[]) => MemoryHost
  readonly policy?: Readonly<Record<string, string>>
  readonly settings?: Partial<ApiNeeds['settings']>
  readonly volumeOperationsPerUser?: number
}

/** Call it at the top level of a test file or in `beforeAll`; it ends with the file. */
export async function startProduct(options: Options = {}): Promise<Product> {
  const database = await makeDatabase()
  const { db, url } = database
  await bootstrap(db, adminPassword)
  const pool = new MemoryDriver(newId(), 'one')
  const host = options.makeHost?.([pool]) ?? new MemoryHost([pool])
  const hostId = newId<HostId>()
  await register(db, hostId, pool)

  const listener = listen(url)
  const operations = createOperations({ db, listener, sagas })
  const vaults = new MemoryVaults()
  const mover = new MemoryMover(vaults, new Map([[pool.pool, pool]]))
  const world: World = {
    db,
    clock: systemClock,
    storage: () => pool,
    hosts: () => host,
    mover: () => mover,
    secrets: testSecrets,
  }
  const worker = startWorker({
    claims: createClaims({ db, listener, owner: 'test', leaseMs: 5_000 }),
    sagas,
    worldFor: () => world,
    clock: systemClock,
    log: quietLog(),
    pace: fastPace,
    pollMs: 100,
  })
  const policy = createPolicy(options.policy)
  const hostSilentSeconds = 3600
  const commands = createCommands({
    db,
    operations,
    allow: (caller, rule, { project }) => policy.require(caller, rule, { project_id: project }),
    mover: async () => mover,
    secrets: testSecrets,
    vaultKeys,
    settings: {
      freezeSeconds: 1,
      hostSilentSeconds,
      poolReserveBytes: 0,
      volumeOperationsPerUser: options.volumeOperationsPerUser ?? 3,
    },
  })
  const logged: string[] = []
  const app = await buildServer({
    db,
    commands,
    operations,
    policy,
    faces: [nativeFace({ db, commands, operations, policy })],
    logger: pino({ level: 'info' }, { write: (line: string) => void logged.push(line) }),
    receiveUpload: (data, limit) => receive(pool, data, limit),
    agents: () => ({ configured: 1, met: 1 }),
    console: async () => 'login: \n',
    settings: {
      publicUrl: null,
      region: 'RegionOne',
      tokenSeconds: 3600,
      maxImageBytes: 64 * 1024 * 1024,
      hostSilentSeconds,
      waitSeconds: 30,
      ...options.settings,
    },
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  afterAll(async () => {
    await app.close()
    await worker.stop(500)
    await listener.close()
  })
  const { port } = app.server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, app, db, operations, commands, host, pool, vaults, mover, logged }
}

async function register(db: Db, host: HostId, pool: MemoryDriver): Promise<void> {
  const facts = { qemuVersion: '8.2.1', accelerator: 'tcg', bootId: 'memory', vcpus: 8, memoryMib: 8192 }
  await db
    .insertInto('hosts')
    .values({
      id: host,
      name: 'memory',
      agent_address: 'memory',
      disabled_reason: null,
      facts: JSON.stringify(facts),
      seen_at: new Date(),
    })
    .execute()
  const gib = 1024 ** 3
  await db
    .insertInto('pools')
    .values({ id: pool.pool, name: 'memory', kind: 'qcow2', total_bytes: 1000 * gib, free_bytes: 900 * gib })
    .execute()
  await db.insertInto('pool_hosts').values({ pool_id: pool.pool, host_id: host }).execute()
}

/** Everything received counts as a blank disk of that length. */
async function receive(pool: MemoryDriver, data: AsyncIterable<Buffer>, limit: number) {
  const md5 = createHash('md5')
  const sha512 = createHash('sha512')
  let sizeBytes = 0
  for await (const chunk of data) {
    sizeBytes += chunk.length
    if (sizeBytes > limit) throw refuse.tooLarge({ limit })
    md5.update(chunk)
    sha512.update(chunk)
  }
  const name = randomUUID()
  pool.putUpload(name, { sizeBytes: Math.max(512, Math.ceil(sizeBytes / 512) * 512), blocks: new Map() })
  return { name, sizeBytes, md5: md5.digest('hex'), sha512: sha512.digest('hex') }
}
