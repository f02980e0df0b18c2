/** Every route of every face, found by letting the faces register them with somebody who only takes notes. */
import type { FastifyInstance } from 'fastify'
import { nativeFace } from '../../src/api/native/face.ts'
import { openstackFaces } from '../../src/api/openstack/faces.ts'
import type { ApiNeeds } from '../../src/api/server.ts'

export type Route = { readonly face: string; readonly method: string; readonly url: string; readonly open: boolean }

type Options = { readonly config?: { readonly open?: boolean } }

export function allRoutes(): Route[] {
  const needs = { settings: {} } as ApiNeeds
  return [...openstackFaces(needs), nativeFace(needs)].flatMap(({ prefix, routes }) => {
    const noted: Route[] = []
    const note = (method: string) => (url: string, options: Options | unknown) => {
      const open = typeof options === 'object' && (options as Options).config?.open === true
      noted.push({ face: prefix, method, url: `${prefix}${url}`, open })
    }
    const taker = {
      get: note('GET'),
      post: note('POST'),
      put: note('PUT'),
      patch: note('PATCH'),
      delete: note('DELETE'),
      route: ({ method, url, config }: { method: string; url: string } & Options) => note(method)(url, { config }),
    }
    routes(taker as unknown as FastifyInstance)
    return noted
  })
}

/** The path with its parameters filled in. */
export const filled = ({ url }: Route, value: string): string => url.replaceAll(/:\w+/g, encodeURIComponent(value))
