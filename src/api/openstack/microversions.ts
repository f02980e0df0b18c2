/** Microversions: one header says which form of requests and answers a client understands; what we do not speak is 406. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { refuse } from '../../domain/refusals.ts'
import type { Microversion } from '../http/request.ts'

export type Microversions = {
  /** As it stands in `OpenStack-API-Version: compute 2.1`. */
  readonly service: string
  readonly min: Microversion
  readonly max: Microversion
  /** An older header with nothing but the version. */
  readonly legacyHeader?: string
}

export const say = ([major, minor]: Microversion): string => `${major}.${minor}`

/** Sets the request's microversion and the answer's headers. Without a header the oldest is meant. */
export function negotiate(versions: Microversions, request: FastifyRequest, reply: FastifyReply): void {
  const { service, legacyHeader } = versions
  reply.header('vary', ['OpenStack-API-Version', ...(legacyHeader ? [legacyHeader] : [])].join(', '))
  const asked = askedFor(versions, request)
  request.microversion = asked === null ? versions.min : parse(asked, versions)
  reply.header('openstack-api-version', `${service} ${say(request.microversion)}`)
  if (legacyHeader) reply.header(legacyHeader.toLowerCase(), say(request.microversion))
}

function askedFor({ service, legacyHeader }: Microversions, request: FastifyRequest): string | null {
  const header = request.headers['openstack-api-version']
  for (const part of [header ?? []].flat().join(',').split(',')) {
    const [name, version, ...rest] = part.trim().split(/\s+/)
    if (name?.toLowerCase() === service) return rest.length === 0 ? (version ?? '') : part
  }
  const legacy = legacyHeader && request.headers[legacyHeader.toLowerCase()]
  return typeof legacy === 'string' ? legacy.trim() : null
}

function parse(text: string, { min, max }: Microversions): Microversion {
  if (text.toLowerCase() === 'latest') return max
  const [, major, minor] = /^([1-9]\d*)\.(0|[1-9]\d*)$/.exec(text) ?? []
  if (!major || !minor || minor.length > 6)
    throw refuse.malformed({
      why: `API Version String '${text.slice(0, 50)}' is of invalid format. It must be like ${say(max)}, or latest.`,
    })
  const version: Microversion = [Number(major), Number(minor)]
  if (before(version, min) || before(max, version))
    throw refuse.notAcceptable({
      why: `Version ${text} is not supported by the API. Minimum is ${say(min)} and maximum is ${say(max)}.`,
    })
  return version
}

const before = (a: Microversion, b: Microversion) => a[0] < b[0] || (a[0] === b[0] && a[1] < b[1])

/** Whether the request speaks that minor version or a later one. */
export const speaks = (request: FastifyRequest, minor: number): boolean => request.microversion[1] >= minor

/** A route or field that came with a microversion does not exist before it. */
export function requireMicroversion(request: FastifyRequest, minor: number): void {
  if (!speaks(request, minor)) throw refuse.noSuchPath()
}

/** Fields of a body that came with a minor version are unknown before it. */
export function refuseNewer(request: FastifyRequest, body: object, since: Readonly<Record<string, number>>): void {
  for (const [field, minor] of Object.entries(since))
    if (Object.hasOwn(body, field) && !speaks(request, minor))
      throw refuse.malformed({ why: `Additional properties are not allowed ('${field}' was unexpected)` })
}
