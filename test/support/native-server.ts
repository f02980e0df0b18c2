/** A product for tests of the native interface: with users, and instances that are there at once. */
import type { Caller, Role } from '../../src/app/caller.ts'
import type { Commands } from '../../src/app/commands.ts'
import { assignRole, createProject, createUser } from '../../src/app/identity/accounts.ts'
import { logIn } from '../../src/app/identity/sessions.ts'
import { asId, type FlavorId, type InstanceId, type OperationId, type RequestId } from '../../src/domain/ids.ts'
import { GiB } from '../../src/domain/volume.ts'
import type { Db } from '../../src/ports/tables.ts'
import { type Product, startProduct } from './product.ts'

export type TestUser = { readonly name: string; readonly token: string; readonly caller: Caller }

export type NativeServer = Product & {
  /** A user whose password is the name, in a project. */
  readonly user: (name: string, project: string, role: Role) => Promise<TestUser>
  /** A running instance with so many blank disks. */
  readonly instance: (owner: TestUser, name: string, disks?: number) => Promise<InstanceId>
  /** Waits for an operation, and refuses one that was not done. */
  readonly done: (started: { readonly operation: OperationId }) => Promise<void>
}

const flavor = asId<FlavorId>('small')

export async function nativeServer(options: Parameters<typeof startProduct>[0] = {}): Promise<NativeServer> {
  const product = await startProduct(options)
  const { db, commands, operations } = product
  await db
    .insertInto('flavors')
    .values({ id: flavor, name: flavor, vcpus: 1, ram_mib: 64, disk_gib: 1, extra_specs: '{}' })
    .execute()
  const done: NativeServer['done'] = async ({ operation }) => {
    const { state, problem } = await operations.ended(operation)
    if (state !== 'done') throw new Error(`operation ended ${state}: ${problem?.message}`)
  }
  return {
    ...product,
    done,
    user: (name, project, role) => addUser(db, name, project, role),
    instance: async (owner, name, disks = 2) => {
      const started = await commands.createInstance(owner.caller, blankInstance(name, disks))
      await done(started)
      return started.instance
    },
  }
}

async function addUser(db: Db, name: string, projectName: string, role: Role): Promise<TestUser> {
  const known = await db.selectFrom('projects').select('id').where('name', '=', projectName).executeTakeFirst()
  const { id: project } = known ?? (await createProject(db, { name: projectName, description: '', enabled: true }))
  const { id: user } = await createUser(db, { name, password: name, enabled: true, defaultProject: project })
  await assignRole(db, user, project, role)
  const { token } = await logIn(db, { proof: { user: { name }, password: name }, scope: 'default' }, 3600, () => ({}))
  const requestId = asId<RequestId>('req-test')
  return { name, token, caller: { user, userName: name, project, projectName, roles: [role], requestId } }
}

const blankInstance = (name: string, disks: number): Parameters<Commands['createInstance']>[1] => ({
  name,
  description: null,
  flavor,
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
