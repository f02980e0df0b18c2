import type { FastifyRequest } from 'fastify'
import { baseUrl } from '../../http/links.ts'

/** Nova's two links of a thing: with the version in the path, and without. */
export function linksOf(request: FastifyRequest, publicUrl: string | null, collection: string, id: string) {
  const base = `${baseUrl(request, publicUrl)}/compute`
  const path = `${collection}/${encodeURIComponent(id)}`
  return [
    { rel: 'self', href: `${base}/v2.1/${path}` },
    { rel: 'bookmark', href: `${base}/${path}` },
  ]
}

/** Where the next page of a list is. */
export function nextLink(request: FastifyRequest, publicUrl: string | null, path: string, marker: string) {
  const query = new URLSearchParams(request.url.split('?')[1] ?? '')
  query.set('marker', marker)
  return [{ rel: 'next', href: `${baseUrl(request, publicUrl)}${path}?${query}` }]
}

export const seconds = (date: Date): string => date.toISOString().replace(/\.\d+Z$/, 'Z')

/** Times without a zone, with microseconds: older parts of Nova, all of Cinder. */
export const microseconds = (date: Date): string => date.toISOString().replace('Z', '000')
