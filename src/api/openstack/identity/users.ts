import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { createUser, deleteUser, findUser, listProjects, listUsers, updateUser } from '../../../app/identity/accounts.ts'
import { passwordMatches } from '../../../app/identity/passwords.ts'
import { asId, type ProjectId } from '../../../domain/ids.ts'
import { refuse } from '../../../domain/refusals.ts'
import { read } from '../../http/bodies.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { printable } from '../names.ts'
import { askerOf, type ById } from './asker.ts'
import { isOurDomain, linkTo, listed, projectView, userView } from './views.ts'

const password = z.string().min(1).max(4096)
const project = z
  .string()
  .max(64)
  .transform((id) => asId<ProjectId>(id))
const fields = {
  name: printable(255),
  password: password.optional(),
  enabled: z.boolean().optional(),
  default_project_id: project.nullish(),
  domain_id: z.string().nullish(),
  description: z.string().nullish(),
  email: z.string().nullish(),
  options: z.object({}).optional(),
}
const creation = z.strictObject({ user: z.strictObject({ ...fields, password }) })
const change = z.strictObject({ user: z.strictObject(fields).partial() })
const passwordChange = z.strictObject({ user: z.strictObject({ original_password: z.string(), password }) })

export function users(app: FastifyInstance, { db, policy, settings: { publicUrl } }: ApiNeeds): void {
  app.get<{ Querystring: { name?: string; domain_id?: string } }>('/v3/users', async (request) => {
    policy.require(askerOf(request), 'identity:list_users')
    const link = linkTo(request, publicUrl)
    const { name, domain_id: id } = request.query
    const found = isOurDomain({ id }) ? await listUsers(db, { name }) : []
    return listed(
      link,
      'users',
      found.map((user) => userView(user, link)),
    )
  })

  app.post('/v3/users', async (request, reply) => {
    policy.require(askerOf(request), 'identity:create_user')
    const { user } = read(creation, request.body)
    const { name, password, enabled = true, default_project_id: defaultProject = null } = user
    const made = await createUser(db, { name, password, enabled, defaultProject })
    return reply.code(201).send({ user: userView(made, linkTo(request, publicUrl)) })
  })

  app.get<ById>('/v3/users/:id', async (request) => {
    const { id } = request.params
    const asker = askerOf(request)
    if (asker.user !== id) policy.require(asker, 'identity:get_user')
    return { user: userView(await findUser(db, id), linkTo(request, publicUrl)) }
  })

  app.patch<ById>('/v3/users/:id', async (request) => {
    policy.require(askerOf(request), 'identity:update_user')
    const { user } = read(change, request.body)
    const { id } = await findUser(db, request.params.id)
    const { name, password, enabled, default_project_id: defaultProject } = user
    const updated = await updateUser(db, id, {
      ...(name === undefined ? {} : { name }),
      ...(password === undefined ? {} : { password }),
      ...(enabled === undefined ? {} : { enabled }),
      ...(defaultProject === undefined ? {} : { defaultProject }),
    })
    return { user: userView(updated, linkTo(request, publicUrl)) }
  })

  app.delete<ById>('/v3/users/:id', async (request, reply) => {
    policy.require(askerOf(request), 'identity:delete_user')
    const { id } = await findUser(db, request.params.id)
    await deleteUser(db, id)
    return reply.code(204).send()
  })

  app.post<ById>('/v3/users/:id/password', async (request, reply) => {
    request.audited.action = 'identity:change_password'
    const { id } = request.params
    if (askerOf(request).user !== id) throw refuse.forbidden({ rule: 'identity:change_password' })
    const { user } = read(passwordChange, request.body)
    const row = await db
      .selectFrom('users')
      .select(['id', 'password_hash'])
      .where('id', '=', askerOf(request).user)
      .executeTakeFirst()
    if (!row || !(await passwordMatches(user.original_password, row.password_hash))) throw refuse.unauthenticated()
    await updateUser(db, row.id, { password: user.password })
    return reply.code(204).send()
  })

  app.get<ById>('/v3/users/:id/projects', async (request) => {
    const { id } = await findUser(db, request.params.id)
    policy.require(askerOf(request), 'identity:list_user_projects', { user_id: id })
    const link = linkTo(request, publicUrl)
    const found = await listProjects(db, { user: id })
    return listed(
      link,
      'projects',
      found.map((project) => projectView(project, link)),
    )
  })
}
