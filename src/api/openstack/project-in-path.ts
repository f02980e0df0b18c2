/** Compute and volume URLs may carry the project's id. It is taken out before routing; `projectInPath` reads it again. */
import type { FastifyRequest } from 'fastify'
import { refuse } from '../../domain/refusals.ts'

const withProject =
  /^(\/+compute\/+v2\.1|\/+volume\/+v3)\/+([0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?=[/?]|$)/

export const withoutProject = (url: string): string => url.replace(withProject, '$1')

export const projectInPath = (request: FastifyRequest): string | null => withProject.exec(request.originalUrl)?.[2] ?? null

/** A project in the path must be the token's own. */
export function requireOwnPath(request: FastifyRequest): void {
  const project = projectInPath(request)
  if (project !== null && request.session && request.session.project !== project)
    throw refuse.malformed({ why: 'Malformed request url' })
}
