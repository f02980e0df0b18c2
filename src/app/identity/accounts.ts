/** Users, projects and who has which role where. Ids are 32 hex digits, as Keystone makes them. */
import type { ProjectId, UserId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type { Db, Role } from '../../ports/tables.ts'
import { hashPassword } from './passwords.ts'
import { revokeTokensOf } from './sessions.ts'

export const newAccountId = <T extends UserId | ProjectId>(): T =>
  globalThis.crypto.randomUUID().replaceAll('-', '') as string as T

export type User = {
  readonly id: UserId
  readonly name: string
  readonly enabled: boolean
  readonly defaultProject: ProjectId | null
}
export type Project = { readonly id: ProjectId; readonly name: string; readonly description: string; readonly enabled: boolean }

const userColumns = ['id', 'name', 'enabled', 'default_project_id as defaultProject'] as const
const projectColumns = ['id', 'name', 'description', 'enabled'] as const

/** The user and project `admin` exist and the user has that password. Says whether anything had to be made. */
export async function ensureAdmin(db: Db, password: string): Promise<{ user: UserId; project: ProjectId; made: boolean }> {
  const found = await db.selectFrom('users').selectAll().where('name', '=', 'admin').executeTakeFirst()
  if (found?.default_project_id) return { user: found.id, project: found.default_project_id, made: false }
  const hash = await hashPassword(password)
  return await db.transaction().execute(async (tx) => {
    await tx
      .insertInto('projects')
      .values({ id: newAccountId<ProjectId>(), name: 'admin' })
      .onConflict((row) => row.column('name').doNothing())
      .execute()
    const { id: project } = await tx.selectFrom('projects').select('id').where('name', '=', 'admin').executeTakeFirstOrThrow()
    await tx
      .insertInto('users')
      .values({ id: newAccountId<UserId>(), name: 'admin', password_hash: hash, default_project_id: project })
      .onConflict((row) => row.column('name').doUpdateSet({ default_project_id: project }))
      .execute()
    const { id: user } = await tx.selectFrom('users').select('id').where('name', '=', 'admin').executeTakeFirstOrThrow()
    await tx
      .insertInto('role_assignments')
      .values({ user_id: user, project_id: project, role: 'admin' })
      .onConflict((row) => row.doNothing())
      .execute()
    return { user, project, made: true }
  })
}

export const listUsers = (db: Db, filter: { name?: string | undefined } = {}): Promise<User[]> =>
  db
    .selectFrom('users')
    .select(userColumns)
    .$if(filter.name !== undefined, (query) => query.where('name', '=', filter.name ?? ''))
    .orderBy('name')
    .execute()

export async function findUser(db: Db, id: string): Promise<User> {
  const user = await db
    .selectFrom('users')
    .select(userColumns)
    .where('id', '=', id as UserId)
    .executeTakeFirst()
  if (!user) throw refuse.notFound({ what: 'User', id })
  return user
}

export type NewUser = {
  readonly name: string
  readonly password: string
  readonly enabled: boolean
  readonly defaultProject: ProjectId | null
}

export async function createUser(db: Db, { name, password, enabled, defaultProject }: NewUser): Promise<User> {
  if (defaultProject) await findProject(db, defaultProject)
  const row = {
    id: newAccountId<UserId>(),
    name,
    enabled,
    password_hash: await hashPassword(password),
    default_project_id: defaultProject,
  }
  const { numInsertedOrUpdatedRows } = await db
    .insertInto('users')
    .values(row)
    .onConflict((row) => row.doNothing())
    .executeTakeFirst()
  if (numInsertedOrUpdatedRows !== 1n) throw refuse.nameTaken({ what: 'User', name })
  return await findUser(db, row.id)
}

/** The first administrator as on the first day, with another password: for whoever has shut himself out. */
export async function resetAdmin(db: Db, password: string): Promise<void> {
  const { user, project } = await ensureAdmin(db, password)
  await updateUser(db, user, { password, enabled: true })
  await db.updateTable('projects').set({ enabled: true }).where('id', '=', project).execute()
  await assignRole(db, user, project, 'admin')
}

export async function updateUser(db: Db, id: UserId, change: Partial<NewUser>): Promise<User> {
  const before = await findUser(db, id)
  if (change.defaultProject) await findProject(db, change.defaultProject)
  if (change.name !== undefined && change.name !== before.name && (await listUsers(db, { name: change.name })).length > 0)
    throw refuse.nameTaken({ what: 'User', name: change.name })
  await db
    .updateTable('users')
    .set({
      name: change.name ?? before.name,
      enabled: change.enabled ?? before.enabled,
      default_project_id: change.defaultProject === undefined ? before.defaultProject : change.defaultProject,
      ...(change.password === undefined ? {} : { password_hash: await hashPassword(change.password) }),
    })
    .where('id', '=', id)
    .execute()
  if (change.password !== undefined || change.enabled === false) await revokeTokensOf(db, id)
  return await findUser(db, id)
}

export async function deleteUser(db: Db, id: UserId): Promise<void> {
  await findUser(db, id)
  await db.deleteFrom('users').where('id', '=', id).execute()
}

export const listProjects = (db: Db, filter: { name?: string | undefined; user?: UserId } = {}): Promise<Project[]> =>
  db
    .selectFrom('projects')
    .select(projectColumns)
    .$if(filter.name !== undefined, (query) => query.where('name', '=', filter.name ?? ''))
    .$if(filter.user !== undefined, (query) =>
      query.where('enabled', '=', true).where('id', 'in', (row) =>
        row
          .selectFrom('role_assignments')
          .select('project_id')
          .where('user_id', '=', filter.user ?? ('' as UserId)),
      ),
    )
    .orderBy('name')
    .execute()

export async function findProject(db: Db, id: string): Promise<Project> {
  const project = await db
    .selectFrom('projects')
    .select(projectColumns)
    .where('id', '=', id as ProjectId)
    .executeTakeFirst()
  if (!project) throw refuse.notFound({ what: 'Project', id })
  return project
}

export async function createProject(db: Db, project: Omit<Project, 'id'>): Promise<Project> {
  const row = { id: newAccountId<ProjectId>(), ...project }
  const { numInsertedOrUpdatedRows } = await db
    .insertInto('projects')
    .values(row)
    .onConflict((row) => row.doNothing())
    .executeTakeFirst()
  if (numInsertedOrUpdatedRows !== 1n) throw refuse.nameTaken({ what: 'Project', name: project.name })
  return row
}

export async function updateProject(db: Db, id: ProjectId, change: Partial<Omit<Project, 'id'>>): Promise<Project> {
  const before = await findProject(db, id)
  if (change.name !== undefined && change.name !== before.name && (await listProjects(db, { name: change.name })).length > 0)
    throw refuse.nameTaken({ what: 'Project', name: change.name })
  const after = { ...before, ...change }
  await db.updateTable('projects').set(after).where('id', '=', id).execute()
  return after
}

/** Refused while anything belongs to it. */
export async function deleteProject(db: Db, id: ProjectId): Promise<void> {
  await findProject(db, id)
  for (const table of ['instances', 'volumes', 'images', 'volume_snapshots', 'backups'] as const) {
    const held = await db
      .selectFrom(table)
      .select('id')
      .where('project_id', '=', id)
      .where('deleted_at', 'is', null)
      .executeTakeFirst()
    if (held) throw refuse.inUse({ what: 'Project', id, by: `${table.replace('volume_', '')} such as ${held.id}` })
  }
  await db.transaction().execute(async (tx) => {
    await tx.updateTable('users').set({ default_project_id: null }).where('default_project_id', '=', id).execute()
    await tx.deleteFrom('projects').where('id', '=', id).execute()
  })
}

export type Assignment = {
  readonly user: UserId
  readonly userName: string
  readonly project: ProjectId
  readonly projectName: string
  readonly role: Role
}

export const listAssignments = (
  db: Db,
  filter: { user?: UserId | undefined; project?: ProjectId | undefined } = {},
): Promise<Assignment[]> =>
  db
    .selectFrom('role_assignments as a')
    .innerJoin('users', 'users.id', 'a.user_id')
    .innerJoin('projects', 'projects.id', 'a.project_id')
    .select([
      'a.user_id as user',
      'users.name as userName',
      'a.project_id as project',
      'projects.name as projectName',
      'a.role',
    ])
    .$if(filter.user !== undefined, (query) => query.where('a.user_id', '=', filter.user ?? ('' as UserId)))
    .$if(filter.project !== undefined, (query) => query.where('a.project_id', '=', filter.project ?? ('' as ProjectId)))
    .orderBy('users.name')
    .execute()

export async function assignRole(db: Db, user: UserId, project: ProjectId, role: Role): Promise<void> {
  await findUser(db, user)
  await findProject(db, project)
  await db
    .insertInto('role_assignments')
    .values({ user_id: user, project_id: project, role })
    .onConflict((row) => row.doNothing())
    .execute()
}

export async function takeRole(db: Db, user: UserId, project: ProjectId, role: Role): Promise<void> {
  const { numDeletedRows } = await db
    .deleteFrom('role_assignments')
    .where('user_id', '=', user)
    .where('project_id', '=', project)
    .where('role', '=', role)
    .executeTakeFirst()
  if (numDeletedRows === 0n) throw refuse.notFound({ what: 'Role assignment', id: role })
}
