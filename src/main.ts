/** The controller: reads its settings, puts the parts together, serves until told to stop. Nothing imports this file. */
import { join } from 'node:path'
import { pino } from 'pino'
import { systemClock } from './adapters/clock.ts'
import { createClaims } from './adapters/database/claims.ts'
import { connect, database } from './adapters/database/connect.ts'
import { dumpDatabase } from './adapters/database/dump.ts'
import { nextEpoch } from './adapters/database/epochs.ts'
import { fencedDatabase } from './adapters/database/fenced.ts'
import { listen } from './adapters/database/listen.ts'
import { migrate } from './adapters/database/migrate.ts'
import { createOperations } from './adapters/database/operations.ts'
import { ensureDatabase, ensurePostgres } from './adapters/database/private-postgres.ts'
import { connectAgent } from './adapters/host-agent/connect.ts'
import { AgentDirectory } from './adapters/host-agent/directory.ts'
import { secretKey } from './adapters/secrets/key-file.ts'
import { secretsUnder } from './adapters/secrets/sealed.ts'
import { vaultKeys } from './adapters/vault/keys.ts'
import { nativeFace } from './api/native/face.ts'
import { buildServer } from './api/server.ts'
import { bootstrap } from './app/bootstrap.ts'
import { createCommands } from './app/commands/index.ts'
import type { Needs } from './app/needs.ts'
import { readPolicyFile } from './app/policy/file.ts'
import { createPolicy } from './app/policy/policy.ts'
import { receiveUploads } from './app/uploads.ts'
import { backupRowsWatcher } from './app/watchers/backup-rows.ts'
import { collectorWatcher } from './app/watchers/collector.ts'
import { type DumpNeeds, dumpWatcher } from './app/watchers/dump.ts'
import { hostsWatcher } from './app/watchers/hosts.ts'
import { housekeepingWatcher } from './app/watchers/housekeeping.ts'
import { leftoversWatcher } from './app/watchers/leftovers.ts'
import { runWatchers, type Watcher } from './app/watchers/loop.ts'
import { machinesWatcher, systemOrigin } from './app/watchers/machines.ts'
import { mergerWatcher } from './app/watchers/merger.ts'
import { stalledWatcher } from './app/watchers/stalled.ts'
import { sweeperWatcher } from './app/watchers/sweeper.ts'
import { controllerConfig } from './config.ts'
import { newId, type OperationId, type PoolId } from './domain/ids.ts'
import type { World } from './ports/world.ts'
import { startWorker, type Ticket } from './sagas/engine/worker.ts'
import { lanes, sagas } from './sagas/index.ts'

const config = controllerConfig()
const log = pino({ level: config.logLevel, base: { process: 'controller' } })
process.once('uncaughtException', (error) => {
  log.fatal({ err: error }, 'the controller ends')
  log.flush(() => process.exit(1))
})

const isPrivate =
  config.databaseUrl === null || config.databaseUrl.includes(encodeURIComponent(config.privatePostgres.socketDir))
if (isPrivate) await ensurePostgres(config.privatePostgres)
const url = config.databaseUrl ?? (await ensureDatabase(config.privatePostgres, 'comeback'))
await migrate(url)
const pool = connect(url, {
  name: 'comeback-controller',
  onLost: (error) => log.warn({ err: error }, 'a database connection was lost'),
})
const db = database(pool)
await bootstrap(db, config.adminPassword)

const listener = listen(url)
const operations = createOperations({ db, listener, sagas })
const agents = new AgentDirectory((address) => connectAgent(address, config.agentTls, config.hostName))
const policy = createPolicy(config.policyFile === null ? {} : await readPolicyFile(config.policyFile))
const secrets = secretsUnder(
  await secretKey(config.secretKeyFile ?? join(config.state, 'secret.key'), { make: config.secretKeyFile === null }),
)
const needs: Needs = {
  db,
  operations,
  settings: config,
  mover: async (host, operation) => {
    const fence = { resource: `operation:${operation}`, epoch: await nextEpoch(db), operation }
    return agents.mover(host, { fence, requestId: systemOrigin().requestId })
  },
  secrets,
  vaultKeys,
  allow: (caller, rule, { project }) => policy.require(caller, rule, { project_id: project }),
}
const commands = createCommands(needs)

const worldFor = ({ operation, epoch, requestId, resourceOfFence }: Ticket): World => {
  const from = { fence: { resource: resourceOfFence, epoch, operation }, requestId }
  const fenced = fencedDatabase(pool, { operation, epoch })
  return {
    db: fenced,
    clock: systemClock,
    storage: (id) => agents.storage(id, from),
    hosts: (id) => agents.host(id, from),
    mover: (id) => agents.mover(id, from),
    secrets,
  }
}
const claims = createClaims({ db, listener, owner: `${config.hostName}:${config.listen.port}` })
await claims.takeBack()
const work = { claims, worldFor, clock: systemClock, log }
const workers = [
  startWorker({ ...work, sagas: lanes.quick, concurrency: 16 }),
  startWorker({ ...work, sagas: lanes.slow, concurrency: config.backupsAtOnce }),
]

const server = await buildServer({
  db,
  commands,
  operations,
  policy,
  settings: config,
  logger: log,
  receiveUpload: receiveUploads(db, (id) => agents.uploads(id)),
  agents: () => ({ configured: config.agents.length, met: agents.metOf(config.agents) }),
  console: (host, instance, lines) => agents.host(host).console(instance, lines),
  faces: [nativeFace({ db, commands, operations, policy })],
})

const fencedStorage = (id: PoolId, { operation, epoch }: { operation: OperationId; epoch: number }) =>
  agents.storage(id, {
    fence: { resource: `operation:${operation}`, epoch, operation },
    requestId: systemOrigin().requestId,
  })
const dumping: DumpNeeds = {
  db,
  dump: (signal) => dumpDatabase(url, signal),
  uploads: (id) => agents.uploads(id),
  storage: (id, epoch) =>
    agents.storage(id, { fence: { resource: `pool:${id}`, epoch, operation: newId() }, requestId: systemOrigin().requestId }),
}
const watchers: Watcher[] = [
  hostsWatcher({ db, log, warnPercent: config.poolWarnPercent, addresses: config.agents, directory: agents }, 3_000),
  machinesWatcher({ db, operations, hosts: (id) => agents.host(id) }, 2_000),
  collectorWatcher({ db, operations }, 5_000),
  leftoversWatcher({ db, operations, log, storage: (id) => agents.storage(id), changing: fencedStorage }, 60_000),
  mergerWatcher({ db, operations, storage: (id) => agents.storage(id) }, 10_000),
  sweeperWatcher(
    {
      db,
      operations,
      hostSilentSeconds: config.hostSilentSeconds,
      againAfterSeconds: config.vaultSweepSeconds,
    },
    10_000,
  ),
  backupRowsWatcher({ db, operations }, 60_000),
  stalledWatcher({ db, operations, log, afterSeconds: config.volumeOperationStalledSeconds }, 10_000),
  dumpWatcher(dumping, config.dumpSeconds * 1000),
  housekeepingWatcher(db, 3_600_000),
  ...(isPrivate
    ? [{ name: 'postgres', everyMs: 2_000, look: async () => void (await ensurePostgres(config.privatePostgres)) }]
    : []),
]
const stopping = new AbortController()
const watching = runWatchers(watchers, systemClock, log, stopping.signal)

await server.listen(config.listen)
log.info({ listen: config.listen }, 'serving')

/** Running steps may end; what does not is taken up again from the journal. */
const graceMs = 5_000

async function stop(): Promise<void> {
  stopping.abort()
  await server.close()
  await Promise.all(workers.map((worker) => worker.stop(graceMs)))
  await watching
  agents.close()
  await listener.close()
  await pool.end()
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    log.info({ signal }, 'stopping')
    stop().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ err: error }, 'could not stop cleanly')
        process.exit(1)
      },
    )
  })
}
