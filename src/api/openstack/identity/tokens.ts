import type { FastifyInstance, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { listProjects } from '../../../app/identity/accounts.ts'
import { findSession, type Grant, type Login, logIn, revokeToken, type Session } from '../../../app/identity/sessions.ts'
import { refuse } from '../../../domain/refusals.ts'
import { read } from '../../http/bodies.ts'
import { open } from '../../http/face.ts'
import { baseUrl } from '../../http/links.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { catalogFor } from './catalog.ts'
import { domain, isOurDomain, linkTo, listed, projectView, roleId } from './views.ts'

const domainRef = z.object({ id: z.string(), name: z.string() }).partial().optional()
const named = z.object({ id: z.string().max(64), name: z.string().max(255), domain: domainRef }).partial()

const authBody = z.object({
  auth: z.object({
    identity: z.object({
      methods: z.array(z.string()).min(1),
      password: z.object({ user: named.extend({ password: z.string() }) }).optional(),
      token: z.object({ id: z.string().max(255) }).optional(),
    }),
    scope: z
      .union([
        z.literal('unscoped'),
        z.object({
          project: named.optional(),
          unscoped: z.object({}).optional(),
          system: z.unknown().optional(),
          domain: z.unknown().optional(),
        }),
      ])
      .optional(),
  }),
})

export function tokens(app: FastifyInstance, { db, policy, settings }: ApiNeeds): void {
  app.post('/v3/auth/tokens', open, async (request, reply) => {
    request.audited.action = 'identity:authenticate'
    const login = loginOf(read(authBody, request.body))
    if ('user' in login.proof) request.audited.target = JSON.stringify(login.proof.user).slice(0, 300)
    const base = baseUrl(request, settings.publicUrl)
    const catalog = 'nocatalog' in (request.query as object) ? null : { base, region: settings.region }
    const { token, body } = await logIn(db, login, settings.tokenSeconds, (grant) => tokenBody(grant, catalog))
    reply.header('x-subject-token', token).header('vary', 'X-Auth-Token')
    return reply.code(201).send(body)
  })

  app.get('/v3/auth/tokens', async (request, reply) => {
    const { token, session } = await subject(request)
    reply.header('x-subject-token', token).header('vary', 'X-Auth-Token')
    return session.body
  })

  app.delete('/v3/auth/tokens', async (request, reply) => {
    request.audited.action = 'identity:revoke_token'
    const { token } = await subject(request)
    await revokeToken(db, token)
    return reply.code(204).send()
  })

  app.get('/v3/auth/catalog', async (request) => ({
    catalog: catalogFor(baseUrl(request, settings.publicUrl), settings.region, request.session?.project ?? null),
    links: { self: linkTo(request, settings.publicUrl)('/auth/catalog') },
  }))

  app.get('/v3/auth/projects', async (request) => {
    const link = linkTo(request, settings.publicUrl)
    const projects = request.session ? await listProjects(db, { user: request.session.user }) : []
    return listed(
      link,
      'projects',
      projects.map((project) => projectView(project, link)),
    )
  })

  /** One's own token, or anybody's for an administrator; a token that is no good is not found. */
  async function subject(request: FastifyRequest): Promise<{ token: string; session: Session }> {
    const token = request.headers['x-subject-token']
    if (typeof token !== 'string') throw refuse.malformed({ why: 'The header X-Subject-Token is missing.' })
    const session = await findSession(db, token)
    if (!session) throw refuse.tokenNotFound()
    const asker = request.session
    if (!asker) throw refuse.unauthenticated()
    if (asker.user !== session.user) policy.require(asker, 'identity:get_user')
    return { token, session }
  }
}

function loginOf({ auth: { identity, scope } }: z.infer<typeof authBody>): Login {
  const { methods, password, token } = identity
  if (methods.includes('password') && password) {
    if (!isOurDomain(password.user.domain)) throw refuse.unauthenticated()
    return { proof: { user: refOf(password.user), password: password.user.password }, scope: scopeOf(scope) }
  }
  if (methods.includes('token') && token) return { proof: { token: token.id }, scope: scopeOf(scope) }
  throw refuse.malformed({ why: 'Authentication is by the method password, or by token, with what belongs to it.' })
}

function scopeOf(scope: z.infer<typeof authBody>['auth']['scope']): Login['scope'] {
  if (scope === undefined) return 'default'
  if (scope === 'unscoped' || scope.unscoped) return 'unscoped'
  if (!scope.project) throw refuse.malformed({ why: 'Tokens are scoped to projects here, not to domains or the system.' })
  if (!isOurDomain(scope.project.domain)) throw refuse.unauthenticated()
  return refOf(scope.project)
}

function refOf({ id, name }: { id?: string | undefined; name?: string | undefined }): { id: string } | { name: string } {
  if (id !== undefined) return { id }
  if (name !== undefined) return { name }
  throw refuse.malformed({ why: 'A user or project is named by its id, or by its name and domain.' })
}

// Keystone's times have microseconds.
const moment = (date: Date) => date.toISOString().replace('Z', '000Z')

const tokenBody = (grant: Grant, catalog: { base: string; region: string } | null) => ({
  token: {
    methods: grant.methods,
    user: { ...grant.user, domain, password_expires_at: null },
    audit_ids: [grant.auditId],
    expires_at: moment(grant.expiresAt),
    issued_at: moment(grant.issuedAt),
    ...(grant.project
      ? {
          project: { ...grant.project, domain },
          is_domain: false,
          roles: grant.roles.map((role) => ({ id: roleId(role), name: role })),
        }
      : {}),
    ...(catalog && grant.project ? { catalog: catalogFor(catalog.base, catalog.region, grant.project.id) } : {}),
  },
})
