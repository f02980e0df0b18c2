/**
 * Who somebody is: a password gives a token, a token gives a session. Tokens are random and opaque; the database keeps their
 * SHA-256 only, with the exact body of the answer that gave them. A token lasts until it expires, is revoked, its user or project
 * is disabled, or a role that it carries is taken away.
 */
import { createHash, randomBytes } from 'node:crypto'
import { sql } from 'kysely'
import type { ProjectId, UserId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type { Db, Role } from '../../ports/tables.ts'
import { passwordMatches } from './passwords.ts'
import { withImplied } from './roles.ts'

export type Session = {
  readonly user: UserId
  readonly userName: string
  /** Null: unscoped, good for nothing but asking where one may go. */
  readonly project: ProjectId | null
  readonly projectName: string | null
  readonly roles: readonly Role[]
  readonly expiresAt: Date
  /** The answer of its issue, word for word. */
  readonly body: object
}

export type UserRef = { readonly id: string } | { readonly name: string }
export type ProjectRef = UserRef

export type Login = {
  readonly proof: { readonly user: UserRef; readonly password: string } | { readonly token: string }
  /** `default`: the user's default project, or none. */
  readonly scope: ProjectRef | 'default' | 'unscoped'
}

export type Grant = {
  readonly user: { readonly id: UserId; readonly name: string }
  readonly project: { readonly id: ProjectId; readonly name: string } | null
  readonly roles: readonly Role[]
  readonly methods: readonly string[]
  readonly issuedAt: Date
  readonly expiresAt: Date
  readonly auditId: string
}

const hashOf = (token: string) => createHash('sha256').update(token).digest()
const soughtBy = (ref: UserRef) => ('id' in ref ? (['id', ref.id] as const) : (['name', ref.name] as const))

/** `bodyOf` writes the answer that is kept and replayed. Every reason to refuse is the same refusal. */
export async function logIn(
  db: Db,
  login: Login,
  lifetimeSeconds: number,
  bodyOf: (grant: Grant) => object,
): Promise<{ token: string; body: object }> {
  const { user, methods, until } =
    'token' in login.proof ? await byToken(db, login.proof.token) : await byPassword(db, login.proof)
  const scope =
    login.scope === 'default' ? (user.default_project_id ? { id: user.default_project_id } : 'unscoped') : login.scope
  const place = scope === 'unscoped' ? null : await projectFor(db, user.id, scope)
  if (!place && login.scope !== 'default' && login.scope !== 'unscoped') throw refuse.unauthenticated()

  const issuedAt = new Date()
  const ends = new Date(issuedAt.getTime() + lifetimeSeconds * 1000)
  const grant: Grant = {
    user: { id: user.id, name: user.name },
    project: place && { id: place.id, name: place.name },
    roles: place?.roles ?? [],
    methods,
    issuedAt,
    expiresAt: until && until < ends ? until : ends,
    auditId: randomBytes(16).toString('base64url'),
  }
  const token = randomBytes(32).toString('base64url')
  const body = bodyOf(grant)
  await db
    .insertInto('tokens')
    .values({
      hash: hashOf(token),
      user_id: user.id,
      project_id: place?.id ?? null,
      roles: [...grant.roles],
      body: JSON.stringify(body),
      expires_at: grant.expiresAt,
    })
    .execute()
  return { token, body }
}

async function byPassword(db: Db, { user: ref, password }: { user: UserRef; password: string }) {
  const [column, value] = soughtBy(ref)
  const user = await db
    .selectFrom('users')
    .selectAll()
    .where(column, '=', value as UserId)
    .executeTakeFirst()
  const matches = await passwordMatches(password, user?.password_hash ?? null)
  if (!user || !matches || !user.enabled) throw refuse.unauthenticated()
  return { user, methods: ['password'], until: null }
}

/** A token may be exchanged for one of another project; it does not live longer by that. */
async function byToken(db: Db, token: string) {
  const session = await findSession(db, token)
  if (!session) throw refuse.unauthenticated()
  const user = await db.selectFrom('users').selectAll().where('id', '=', session.user).executeTakeFirstOrThrow()
  return { user, methods: ['token', 'password'], until: session.expiresAt }
}

async function projectFor(db: Db, user: UserId, ref: ProjectRef) {
  const [column, value] = soughtBy(ref)
  const rows = await db
    .selectFrom('projects')
    .innerJoin('role_assignments', 'role_assignments.project_id', 'projects.id')
    .where('role_assignments.user_id', '=', user)
    .where(`projects.${column}`, '=', value as ProjectId)
    .where('projects.enabled', '=', true)
    .select(['projects.id', 'projects.name', 'role_assignments.role'])
    .execute()
  const [project] = rows
  return project ? { id: project.id, name: project.name, roles: withImplied(rows.map(({ role }) => role)) } : null
}

/** The session of a token that is good now; null says nothing about why it is not. */
export async function findSession(db: Db, token: string): Promise<Session | null> {
  const row = await db
    .selectFrom('tokens')
    .innerJoin('users', 'users.id', 'tokens.user_id')
    .leftJoin('projects', 'projects.id', 'tokens.project_id')
    .where('tokens.hash', '=', hashOf(token))
    .where('tokens.revoked_at', 'is', null)
    .where('tokens.expires_at', '>', sql<Date>`now()`)
    .where('users.enabled', '=', true)
    .where((row) => row.or([row('tokens.project_id', 'is', null), row('projects.enabled', '=', true)]))
    .select([
      'tokens.user_id as user',
      'users.name as userName',
      'tokens.project_id as project',
      'projects.name as projectName',
      'tokens.roles as carried',
      'tokens.expires_at as expiresAt',
      'tokens.body as body',
    ])
    .select((row) =>
      row
        .selectFrom('role_assignments')
        .whereRef('role_assignments.user_id', '=', 'tokens.user_id')
        .whereRef('role_assignments.project_id', '=', 'tokens.project_id')
        .select(sql<Role[]>`coalesce(array_agg(role), '{}')`.as('roles'))
        .as('assigned'),
    )
    .executeTakeFirst()
  if (!row) return null
  const { carried, assigned, ...session } = row
  const held = withImplied(assigned ?? [])
  return carried.every((role) => held.includes(role)) ? { ...session, roles: carried } : null
}

export async function revokeToken(db: Db, token: string): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('tokens')
    .set({ revoked_at: new Date() })
    .where('hash', '=', hashOf(token))
    .where('revoked_at', 'is', null)
    .executeTakeFirst()
  return numUpdatedRows > 0n
}

/** A changed password, or a disabled account, ends all of a user's sessions. */
export async function revokeTokensOf(db: Db, user: UserId): Promise<void> {
  await db
    .updateTable('tokens')
    .set({ revoked_at: new Date() })
    .where('user_id', '=', user)
    .where('revoked_at', 'is', null)
    .execute()
}

/** Tokens that ended more than a day ago are of no use to anybody. */
export async function forgetOldTokens(db: Db): Promise<void> {
  await db.deleteFrom('tokens').where('expires_at', '<', sql<Date>`now() - interval '1 day'`).execute()
}
