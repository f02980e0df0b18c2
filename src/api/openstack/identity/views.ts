/** Keystone's forms. There is one domain, called Default. */
import type { FastifyRequest } from 'fastify'
import type { Project, User } from '../../../app/identity/accounts.ts'
import { roles } from '../../../app/identity/roles.ts'
import type { Role } from '../../../ports/tables.ts'
import { baseUrl } from '../../http/links.ts'
import { idOf } from './catalog.ts'

export const domain = { id: 'default', name: 'Default' } as const

export const isOurDomain = (ref: { id?: string | undefined; name?: string | undefined } | undefined): boolean =>
  ref === undefined || ((ref.id ?? domain.id) === domain.id && (ref.name ?? domain.name) === domain.name)

export type LinkTo = (path: string) => string

export const linkTo =
  (request: FastifyRequest, publicUrl: string | null): LinkTo =>
  (path) =>
    `${baseUrl(request, publicUrl)}/identity/v3${path}`

/** Keystone does not page these. */
export const listed = <Item>(link: LinkTo, name: string, items: readonly Item[]) => ({
  links: { self: link(`/${name}`), previous: null, next: null },
  [name]: items,
})

export const userView = (user: User, link: LinkTo) => ({
  id: user.id,
  name: user.name,
  domain_id: domain.id,
  enabled: user.enabled,
  ...(user.defaultProject ? { default_project_id: user.defaultProject } : {}),
  password_expires_at: null,
  options: {},
  links: { self: link(`/users/${user.id}`) },
})

export const projectView = (project: Project, link: LinkTo) => ({
  id: project.id,
  name: project.name,
  description: project.description,
  enabled: project.enabled,
  domain_id: domain.id,
  parent_id: domain.id,
  is_domain: false,
  tags: [],
  options: {},
  links: { self: link(`/projects/${project.id}`) },
})

export const roleId = (role: Role): string => idOf(`role ${role}`)
export const roleOf = (id: string): Role | undefined => roles.find((role) => roleId(role) === id)

export const roleView = (role: Role, link: LinkTo) => ({
  id: roleId(role),
  name: role,
  domain_id: null,
  description: null,
  options: {},
  links: { self: link(`/roles/${roleId(role)}`) },
})
