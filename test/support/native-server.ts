/** The native interface over the real engine, commands and database, with storage and host in memory. */
import { randomUUID } from 'node:crypto'
import { type FastifyInstance, fastify } from 'fastify'
import { systemClock } from '../../src/adapters/clock.ts'
import { createClaims } from '../../src/adapters/database/claims.ts'
import { listen } from '../../src/adapters/database/listen.ts'
import { createOperations } from '../../src/adapters/database/operations.ts'
import { MemoryDriver } from '../../src/adapters/storage/memory/driver.ts'
import { acceptBodies } from '../../src/api/http/bodies.ts'
import { addFace } from '../../src/api/http/face.ts'
import { decorateRequests } from '../../src/api/http/request.ts'
import { nativeFace } from '../../src/api/native/face.ts'
import { bootstrap } from '../../src/app/bootstrap.ts'
import type { Caller, Role } from '../../src/app/caller.ts'
import { createCommands } from '../../src/app/commands/index.ts'
import type { Commands } from '../../src/app/commands.ts'
import { assignRole, createProject, createUser } from '../../src/app/identity/accounts.ts'
import { logIn } from '../../src/app/identity/sessions.ts'
import { createPolicy } from '../../src/app/policy/policy.ts'
import {
  asId,
  type FlavorId,
  type HostId,
  type InstanceId,
  newId,
  type OperationId,
  type PoolId,
} from '../../src/domain/ids.ts'
import { GiB } from '../../src/domain/volume.ts'
import type { HostAgent } from '../../src/ports/host-agent.ts'
import type { Operations } from '../../src/ports/operations.ts'
import type { Db } from '../../src/ports/tables.ts'
import { startWorker } from '../../src/sagas/engine/worker.ts'
import { sagas } from '../../src/sagas/index.ts'
import { cloneDatabase } from './database.ts'
import { fastPace } from './engine.ts'
import { MemoryHost } from './memory-host.ts'
import { quietLog } from './quiet-log.ts'

export type TestUser = { readonly name: string; readonly project: string; readonly token: string; readonly caller: Caller }

export type NativeServer = {
  readonly url: string
  readonly app: FastifyInstance
  readonly db: Db
  readonly operations: Operations
  readonly commands: Commands
  readonly log: ReturnType<typeof quietLog>
  /** A user with a password equal to the name, in a project. */
  readonly user: (name: string, project: string, role: Role) => Promise<TestUser>
  /** A running instance with so many blank disks, after its creation has ended. */
  readonly instance: (owner: TestUser, name: string, disks?: number) => Promise<InstanceId>
  readonly done: (started: { readonly operation: OperationId }) => Promise<void>
  readonly close: () => Promise<void>
}

/** `over` may stand between the sagas and the host: to hold calls up, or to let them fail. */
export async function nativeServer(over: (host: HostAgent) => HostAgent = (host) => host): Promise<NativeServer> {
  const database = await cloneDatabase()
  const { db, url: databaseUrl } = database
  await bootstrap(db, 'not used')
  const pool = newId<PoolId>()
  const driver = new MemoryDriver(pool, 'one')
  const host = over(new MemoryHost([driver]))
  await addHost(db, pool, await host.hello())

  const listener = listen(databaseUrl)
  const operations = createOperations({ db, listener, sagas })
  const policy = createPolicy()
  const log = quietLog()
  const commands = createCommands({
    db,
    operations,
    allow: (caller, rule, { project }) => policy.require(caller, rule, { project_id: project }),
    settings: { freezeSeconds: 1, hostSilentSeconds: 3600, poolReserveBytes: 0 },
  })
  const worker = startWorker({
    claims: createClaims({ db, listener, owner: 'test', leaseMs: 5_000 }),
    sagas,
    worldFor: () => ({ db, clock: systemClock, storage: () => driver, hosts: () => host }),
    clock: systemClock,
    log,
    pace: fastPace,
    pollMs: 50,
  })
  const app = await serverOf({ db, commands, operations, policy })
  const url = await app.listen({ host: '127.0.0.1', port: 0 })

  const done: NativeServer['done'] = async ({ operation }) => {
    const { state, problem } = await operations.ended(operation)
    if (state !== 'done') throw new Error(`operation ended ${state}: ${problem?.message}`)
  }
  return {
    url,
    app,
    db,
    operations,
    commands,
    log,
    done,
    user: (name, project, role) => addUser(db, name, project, role),
    instance: async (owner, name, disks = 2) => {
      const started = await commands.createInstance(owner.caller, blankInstance(name, disks))
      await done(started)
      return started.instance
    },
    close: async () => {
      await app.close()
      await worker.stop(200)
      await listener.close()
      await database.drop()
    },
  }
}

async function serverOf(needs: Parameters<typeof nativeFace>[0]): Promise<FastifyInstance> {
  const app = fastify({ genReqId: () => `req-${randomUUID()}`, forceCloseConnections: 'idle' })
  const stopping = new AbortController()
  app.decorate('stopping', stopping.signal)
  app.addHook('preClose', async () => {
    stopping.abort()
    setTimeout(() => app.server.closeAllConnections(), 200).unref()
  })
  decorateRequests(app)
  acceptBodies(app)
  app.post<{
    Body: {
      auth: { identity: { password: { user: { name: string; password: string } } }; scope?: { project: { name: string } } }
    }
  }>('/identity/v3/auth/tokens', async ({ body: { auth } }, reply) => {
    const { name, password } = auth.identity.password.user
    const scope = auth.scope ? auth.scope.project : 'default'
    const login = { proof: { user: { name }, password }, scope } as const
    const granted = await logIn(needs.db, login, 3600, () => ({ token: { catalog: [] } })).catch(() => null)
    if (!granted) return reply.code(401).send({ error: { code: 401, message: 'no', title: 'Unauthorized' } })
    return reply.code(201).header('x-subject-token', granted.token).send(granted.body)
  })
  await addFace(app, needs.db, nativeFace(needs))
  return app
}

async function addHost(db: Db, pool: PoolId, { facts }: Awaited<ReturnType<HostAgent['hello']>>): Promise<void> {
  const host = newId<HostId>()
  await db
    .insertInto('pools')
    .values({ id: pool, name: 'pool1', kind: 'qcow2', total_bytes: 1024 * GiB, free_bytes: 1024 * GiB })
    .execute()
  await db
    .insertInto('hosts')
    .values({ id: host, name: 'host1', agent_address: 'memory', facts: JSON.stringify(facts), seen_at: new Date() })
    .execute()
  await db.insertInto('pool_hosts').values({ pool_id: pool, host_id: host }).execute()
  await db
    .insertInto('flavors')
    .values({ id: asId<FlavorId>('1'), name: 'small', vcpus: 1, ram_mib: 64, disk_gib: 1, extra_specs: '{}' })
    .execute()
}

async function addUser(db: Db, name: string, projectName: string, role: Role): Promise<TestUser> {
  const known = await db.selectFrom('projects').select('id').where('name', '=', projectName).executeTakeFirst()
  const { id: project } = known ?? (await createProject(db, { name: projectName, description: '', enabled: true }))
  const { id: user } = await createUser(db, { name, password: name, enabled: true, defaultProject: project })
  await assignRole(db, user, project, role)
  const { token } = await logIn(db, { proof: { user: { name }, password: name }, scope: 'default' }, 3600, () => ({}))
  const requestId = asId<Caller['requestId']>('req-test')
  return { name, project, token, caller: { user, userName: name, project, projectName, roles: [role], requestId } }
}

const blankInstance = (name: string, disks: number): Parameters<Commands['createInstance']>[1] => ({
  name,
  description: null,
  flavor: asId<FlavorId>('1'),
  image: null,
  disks: Array.from({ length: disks }, (_, at) => ({
    source: { from: 'blank', sizeBytes: GiB },
    bootIndex: at === 0 ? 0 : null,
    deleteOnTermination: true,
    device: null,
    tag: null,
  })),
  network: 'auto',
  keyName: null,
  userData: null,
  metadata: {},
  tags: [],
  host: null,
})
