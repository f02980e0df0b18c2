import type { FastifyInstance, FastifyRequest } from 'fastify'
import { assignRole, findProject, findUser, listAssignments, takeRole } from '../../../app/identity/accounts.ts'
import { roles as allRoles } from '../../../app/identity/roles.ts'
import type { PolicyName } from '../../../app/policy/policy.ts'
import { asId, type ProjectId, type UserId } from '../../../domain/ids.ts'
import { refuse } from '../../../domain/refusals.ts'
import type { Role } from '../../../ports/tables.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { askerOf, type ById } from './asker.ts'
import { domain, linkTo, listed, roleId, roleOf, roleView } from './views.ts'

type Grant = { Params: { project: string; user: string; role: string } }
type Filter = { 'user.id'?: string; 'scope.project.id'?: string; 'role.id'?: string; include_names?: string }

export function roles(app: FastifyInstance, { db, policy, settings: { publicUrl } }: ApiNeeds): void {
  app.get<{ Querystring: { name?: string } }>('/v3/roles', async (request) => {
    policy.require(askerOf(request), 'identity:list_roles')
    const link = linkTo(request, publicUrl)
    const { name } = request.query
    const found = allRoles.filter((role) => name === undefined || role === name)
    return listed(
      link,
      'roles',
      found.map((role) => roleView(role, link)),
    )
  })

  app.get<ById>('/v3/roles/:id', async (request) => {
    policy.require(askerOf(request), 'identity:list_roles')
    return { role: roleView(roleNamed(request.params.id), linkTo(request, publicUrl)) }
  })

  app.get<{ Querystring: Filter }>('/v3/role_assignments', async (request) => {
    const { query } = request
    const user = query['user.id']
    const asker = askerOf(request)
    if (user !== asker.user) policy.require(asker, 'identity:list_role_assignments')
    const link = linkTo(request, publicUrl)
    const project = query['scope.project.id']
    const found = await listAssignments(db, {
      user: user === undefined ? undefined : asId<UserId>(user),
      project: project === undefined ? undefined : asId<ProjectId>(project),
    })
    const names = query.include_names !== undefined && !/^(0|false)$/i.test(query.include_names)
    const views = found
      .filter(({ role }) => query['role.id'] === undefined || roleId(role) === query['role.id'])
      .map((a) => ({
        role: { id: roleId(a.role), ...(names ? { name: a.role } : {}) },
        user: { id: a.user, ...(names ? { name: a.userName, domain } : {}) },
        scope: { project: { id: a.project, ...(names ? { name: a.projectName, domain } : {}) } },
        links: { assignment: link(`/projects/${a.project}/users/${a.user}/roles/${roleId(a.role)}`) },
      }))
    return listed(link, 'role_assignments', views)
  })

  app.get<{ Params: Omit<Grant['Params'], 'role'> }>('/v3/projects/:project/users/:user/roles', async (request) => {
    policy.require(askerOf(request), 'identity:list_grants')
    const { id: project } = await findProject(db, request.params.project)
    const { id: user } = await findUser(db, request.params.user)
    const link = linkTo(request, publicUrl)
    const found = await listAssignments(db, { user, project })
    return listed(
      link,
      'roles',
      found.map(({ role }) => roleView(role, link)),
    )
  })

  const one = '/v3/projects/:project/users/:user/roles/:role'
  app.put<Grant>(one, async (request, reply) => {
    const { user, project, role } = await grantOf(request, 'identity:create_grant')
    await assignRole(db, user, project, role)
    return reply.code(204).send()
  })
  app.delete<Grant>(one, async (request, reply) => {
    const { user, project, role } = await grantOf(request, 'identity:revoke_grant')
    await takeRole(db, user, project, role)
    return reply.code(204).send()
  })
  app.get<Grant>(one, async (request, reply) => {
    const { user, project, role } = await grantOf(request, 'identity:list_grants')
    const found = await listAssignments(db, { user, project })
    if (!found.some((assignment) => assignment.role === role)) throw refuse.notFound({ what: 'Role', id: request.params.role })
    return reply.code(204).send()
  })

  async function grantOf(request: FastifyRequest<Grant>, rule: PolicyName) {
    policy.require(askerOf(request), rule)
    const { params } = request
    const { id: project } = await findProject(db, params.project)
    const { id: user } = await findUser(db, params.user)
    return { project, user, role: roleNamed(params.role) }
  }
}

function roleNamed(id: string): Role {
  const role = roleOf(id)
  if (!role) throw refuse.notFound({ what: 'Role', id })
  return role
}
