/** Which services there are and where. Ids are made from names, so that every controller says the same. */
import { createHash } from 'node:crypto'
import type { ProjectId } from '../../../domain/ids.ts'

export const idOf = (name: string): string => createHash('sha256').update(`comeback ${name}`).digest('hex').slice(0, 32)

/** `%p` stands for the project. Cinder is listed twice: its own client and newer ones ask for different types. */
const services = [
  { type: 'identity', name: 'keystone', path: '/identity' },
  { type: 'compute', name: 'nova', path: '/compute/v2.1' },
  { type: 'volumev3', name: 'cinderv3', path: '/volume/v3/%p' },
  { type: 'block-storage', name: 'cinder', path: '/volume/v3/%p' },
  { type: 'image', name: 'glance', path: '/image' },
  { type: 'network', name: 'neutron', path: '/network' },
  { type: 'comeback', name: 'comeback', path: '/v1' },
] as const

const interfaces = ['public', 'internal', 'admin'] as const

export const listServices = () =>
  services.map(({ type, name }) => ({ id: idOf(`service ${type}`), type, name, description: '', enabled: true }))

export const listEndpoints = (base: string, region: string) =>
  services.flatMap(({ type, path }) =>
    interfaces.map((side) => ({
      id: idOf(`endpoint ${type} ${side}`),
      interface: side,
      url: `${base}${path.replace('%p', '%(project_id)s')}`,
      region,
      region_id: region,
      service_id: idOf(`service ${type}`),
      enabled: true,
    })),
  )

/** As it stands in tokens; without a project there is only the identity service. */
export const catalogFor = (base: string, region: string, project: ProjectId | null) =>
  services
    .filter(({ path }) => project !== null || !path.includes('%p'))
    .map(({ type, name, path }) => ({
      id: idOf(`service ${type}`),
      type,
      name,
      endpoints: interfaces.map((side) => ({
        id: idOf(`endpoint ${type} ${side}`),
        interface: side,
        url: `${base}${path.replace('%p', project ?? '')}`,
        region,
        region_id: region,
      })),
    }))
