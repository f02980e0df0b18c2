import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { createProject, deleteProject, findProject, listProjects, updateProject } from '../../../app/identity/accounts.ts'
import { read } from '../../http/bodies.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { printable } from '../names.ts'
import { askerOf, type ById } from './asker.ts'
import { isOurDomain, linkTo, listed, projectView } from './views.ts'

const fields = {
  name: printable(64),
  description: z.string().max(1000).nullish(),
  enabled: z.boolean().optional(),
  domain_id: z.string().nullish(),
  parent_id: z.string().nullish(),
  is_domain: z.literal(false).optional(),
  tags: z.array(z.string()).max(0).optional(),
  options: z.object({}).optional(),
}
const creation = z.strictObject({ project: z.strictObject(fields) })
const change = z.strictObject({ project: z.strictObject(fields).partial() })

export function projects(app: FastifyInstance, { db, policy, settings: { publicUrl } }: ApiNeeds): void {
  app.get<{ Querystring: { name?: string; domain_id?: string } }>('/v3/projects', async (request) => {
    policy.require(askerOf(request), 'identity:list_projects')
    const link = linkTo(request, publicUrl)
    const { name, domain_id: id } = request.query
    const found = isOurDomain({ id }) ? await listProjects(db, { name }) : []
    return listed(
      link,
      'projects',
      found.map((project) => projectView(project, link)),
    )
  })

  app.post('/v3/projects', async (request, reply) => {
    policy.require(askerOf(request), 'identity:create_project')
    const { name, description, enabled = true } = read(creation, request.body).project
    const made = await createProject(db, { name, description: description ?? '', enabled })
    return reply.code(201).send({ project: projectView(made, linkTo(request, publicUrl)) })
  })

  app.get<ById>('/v3/projects/:id', async (request) => {
    const { id } = request.params
    const asker = askerOf(request)
    if (asker.project !== id) policy.require(asker, 'identity:get_project')
    return { project: projectView(await findProject(db, id), linkTo(request, publicUrl)) }
  })

  app.patch<ById>('/v3/projects/:id', async (request) => {
    policy.require(askerOf(request), 'identity:update_project')
    const { name, description, enabled } = read(change, request.body).project
    const { id } = await findProject(db, request.params.id)
    const updated = await updateProject(db, id, {
      ...(name === undefined ? {} : { name }),
      ...(description == null ? {} : { description }),
      ...(enabled === undefined ? {} : { enabled }),
    })
    return { project: projectView(updated, linkTo(request, publicUrl)) }
  })

  app.delete<ById>('/v3/projects/:id', async (request, reply) => {
    policy.require(askerOf(request), 'identity:delete_project')
    const { id } = await findProject(db, request.params.id)
    await deleteProject(db, id)
    return reply.code(204).send()
  })
}
