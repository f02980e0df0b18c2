/** A row in the audit log for every call that may change something, refused ones too, written before it is answered. */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Db } from '../../ports/tables.ts'

const changes = new Set(['POST', 'PUT', 'PATCH', 'DELETE'])

export function auditChanges(app: FastifyInstance, db: Db): void {
  app.addHook('onSend', async (request, reply, payload) => {
    if (changes.has(request.method) && !request.is404) {
      try {
        await write(db, request, reply.statusCode)
      } catch (error) {
        request.log.error({ err: error, audited: request.audited }, 'audit row not written')
      }
    }
    return payload
  })
}

async function write(db: Db, request: FastifyRequest, status: number): Promise<void> {
  const { action, target, operation, outcome } = request.audited
  const { session } = request
  const params = Object.values(request.params ?? {})
  await db
    .insertInto('audit_log')
    .values({
      request_id: request.id,
      user_id: session?.user ?? null,
      project_id: session?.project ?? null,
      action: action ?? `${request.method} ${request.routeOptions.url}`,
      target: target ?? (params.length > 0 ? params.join('/').slice(0, 500) : null),
      outcome: outcome ?? (status < 400 ? 'accepted' : `status ${status}`),
      operation_id: operation ?? null,
    })
    .execute()
}
