/** How each service says no. */
import type { FastifyRequest } from 'fastify'
import type { Envelope } from '../http/face.ts'
import type { Failure } from '../http/failures.ts'

const title: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  406: 'Not Acceptable',
  409: 'Conflict',
  413: 'Request Entity Too Large',
  415: 'Unsupported Media Type',
  429: 'Too Many Requests',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  503: 'Service Unavailable',
}

const faultName: Readonly<Record<number, string>> = {
  400: 'badRequest',
  401: 'unauthorized',
  403: 'forbidden',
  404: 'itemNotFound',
  405: 'badMethod',
  409: 'conflictingRequest',
  413: 'overLimit',
  415: 'badMediaType',
  429: 'overLimit',
  501: 'notImplemented',
  503: 'serviceUnavailable',
}

const keystoneBody = ({ status, message }: Failure) => ({
  error: { code: status, message, title: title[status] ?? 'Internal Server Error' },
})

/** Keystone's, and that of every service's token check. */
export const keystoneEnvelope: Envelope = (failure, request, reply) => {
  if (failure.status === 401) reply.header('www-authenticate', `Keystone uri="${authUrl(request)}"`)
  return keystoneBody(failure)
}

const authUrl = (request: FastifyRequest) => `${request.protocol}://${request.host.replaceAll(/[^\w.:[\]-]/g, '')}/identity`

const exceptUnauthenticated =
  (envelope: Envelope): Envelope =>
  (failure, request, reply) =>
    (failure.status === 401 ? keystoneEnvelope : envelope)(failure, request, reply)

/** Nova's and Cinder's. Facts that help a client go on (which disks would work) stand beside the message. */
export const novaEnvelope = exceptUnauthenticated(({ status, message, code, facts }) => ({
  [faultName[status] ?? 'computeFault']: {
    code: status,
    message,
    ...(code === 'preflightFailed' ? { errors: facts['errors'] } : {}),
  },
}))

/** Glance answers a page of HTML unless JSON is asked for. */
export const glanceEnvelope = exceptUnauthenticated(({ status, message }, request, reply) => {
  const code = `${status} ${title[status] ?? 'Internal Server Error'}`
  if (request.headers.accept?.includes('application/json')) return { message, code, title: title[status] }
  reply.type('text/html; charset=UTF-8')
  return `<html>
 <head>
  <title>${code}</title>
 </head>
 <body>
  <h1>${code}</h1>
  ${escapeHtml(message)}<br /><br />
 </body>
</html>`
})

const escapeHtml = (text: string) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')

/** The type is the exception's name in Neutron; ours is the kind of thing that is missing, else of the failure. */
export const neutronEnvelope = exceptUnauthenticated(({ status, message, facts }) => {
  const what = typeof facts['what'] === 'string' ? facts['what'] : ''
  const type =
    status === 404
      ? what
        ? `${what}NotFound`
        : 'HTTPNotFound'
      : status === 403
        ? 'PolicyNotAuthorized'
        : `HTTP${(title[status] ?? 'Error').replaceAll(' ', '')}`
  return { NeutronError: { type, message, detail: '' } }
})

/** Outside of all faces. */
export const plainEnvelope: Envelope = ({ status, message, code }) => ({ error: { status, code, message } })
