import type { FastifyRequest } from 'fastify'

const host = /^(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:\d{1,5})?$/i

/** The address clients know us by, without a slash at the end: the configured one, else what this client called us. */
export function baseUrl(request: FastifyRequest, publicUrl: string | null): string {
  if (publicUrl !== null) return publicUrl
  const called = request.headers.host ?? ''
  const { localAddress = '127.0.0.1', localPort = 80 } = request.raw.socket
  const own = localAddress.includes(':') ? `[${localAddress}]` : localAddress
  return `${request.protocol}://${host.test(called) ? called : `${own}:${localPort}`}`
}
