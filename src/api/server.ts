/** The HTTP server: what all faces share, then the faces. Listening and closing are the caller's. */
import { randomUUID } from 'node:crypto'
import fastify, { type FastifyInstance, LogController } from 'fastify'
import { refuse } from '../domain/refusals.ts'
import { auditChanges } from './http/audit.ts'
import { acceptBodies, bodyLimit } from './http/bodies.ts'
import { addFace, answerFailure, type Face } from './http/face.ts'
import { addMetrics } from './http/metrics.ts'
import type { ApiNeeds } from './http/needs.ts'
import { decorateRequests } from './http/request.ts'
import { plainEnvelope } from './openstack/envelopes.ts'
import { openstackFaces } from './openstack/faces.ts'
import { withoutProject } from './openstack/project-in-path.ts'

export type { ApiNeeds, ApiSettings, Upload } from './http/needs.ts'

export async function buildServer(needs: ApiNeeds): Promise<FastifyInstance> {
  const faces = [...openstackFaces(needs), ...(needs.faces ?? [])]
  const app = fastify({
    loggerInstance: needs.logger,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'requestId' }),
    requestIdHeader: false,
    genReqId: () => `req-${randomUUID()}`,
    bodyLimit,
    forceCloseConnections: 'idle',
    rewriteUrl: (request) => withoutProject(request.url ?? '/'),
    frameworkErrors: (error, request, reply) => {
      request.audited ??= {}
      void answerFailure(envelopeFor(faces, request.url), error, request, reply)
    },
    routerOptions: { ignoreTrailingSlash: true, ignoreDuplicateSlashes: true, caseSensitive: true, maxParamLength: 255 },
  })
  closeInTime(app)
  decorateRequests(app)
  acceptBodies(app)
  identifyAnswers(app)
  auditChanges(app, needs.db)
  app.setErrorHandler((error, request, reply) => answerFailure(envelopeFor(faces, request.url), error, request, reply))
  app.setNotFoundHandler((request, reply) =>
    answerFailure(envelopeFor(faces, request.url), refuse.noSuchPath(), request, reply),
  )
  addMetrics(app, needs)
  for (const face of faces) await addFace(app, needs.db, face)
  return app
}

const envelopeFor = (faces: readonly Face[], url: string) =>
  faces.find(({ prefix }) => url === prefix || url.startsWith(`${prefix}/`) || url.startsWith(`${prefix}?`))?.envelope ??
  plainEnvelope

/** Every answer carries its request's id; what a client called its own request is logged beside it. */
function identifyAnswers(app: FastifyInstance): void {
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-openstack-request-id', request.id)
    reply.header('x-content-type-options', 'nosniff')
    if (/%00/.test(request.url)) throw refuse.malformed({ why: 'The URL contains a NUL character.' })
  })
  app.addHook('onResponse', async (request, reply) => {
    const global = request.headers['x-openstack-request-id']
    request.log.info(
      {
        method: request.method,
        url: request.url,
        status: reply.statusCode,
        ms: Math.round(reply.elapsedTime),
        ...(request.session ? { user: request.session.user, project: request.session.project } : {}),
        ...(typeof global === 'string' ? { globalRequestId: global.slice(0, 100) } : {}),
      },
      'answered',
    )
  })
}

// A reader of an event stream that has stopped reading would hold the server open for more than a minute.
const lastGraceMs = 1000

function closeInTime(app: FastifyInstance): void {
  const stopping = new AbortController()
  app.decorate('stopping', stopping.signal)
  app.addHook('preClose', async () => {
    stopping.abort()
    setTimeout(() => app.server.closeAllConnections(), lastGraceMs).unref()
  })
}
