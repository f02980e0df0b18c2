/** `/metrics` for Prometheus and `/healthz` for whoever restarts us. Neither needs a token, neither tells about projects. */
import type { FastifyInstance } from 'fastify'
import { sql } from 'kysely'
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { operationStates } from '../../domain/operation.ts'
import type { Db } from '../../ports/tables.ts'
import { open } from './face.ts'
import type { ApiNeeds } from './needs.ts'

export function addMetrics(app: FastifyInstance, { db, agents }: Pick<ApiNeeds, 'db' | 'agents'>): void {
  const register = new Registry()
  collectDefaultMetrics({ register, prefix: 'comeback_' })
  countRequests(app, register)
  measureDatabase(register, db)
  app.get('/metrics', open, async (_request, reply) => {
    reply.type(register.contentType)
    return await register.metrics()
  })
  app.get('/healthz', open, async (_request, reply) => {
    const healthy = await answersSoon(db)
    return reply
      .code(healthy ? 200 : 503)
      .send({ status: healthy ? 'ok' : 'unavailable', database: healthy ? 'ok' : 'does not answer', agents: agents() })
  })
}

function countRequests(app: FastifyInstance, register: Registry): void {
  const labelNames = ['method', 'route', 'status'] as const
  const requests = new Counter({
    name: 'comeback_http_requests_total',
    help: 'Requests answered.',
    labelNames,
    registers: [register],
  })
  const seconds = new Histogram({
    name: 'comeback_http_request_seconds',
    help: 'Seconds from a request to its answer.',
    labelNames: ['method', 'route'] as const,
    buckets: [0.005, 0.02, 0.1, 0.5, 2, 10, 60],
    registers: [register],
  })
  app.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'unknown'
    requests.inc({ method: request.method, route, status: String(reply.statusCode) })
    seconds.observe({ method: request.method, route }, reply.elapsedTime / 1000)
  })
}

function measureDatabase(register: Registry, db: Db): void {
  const registers = [register]
  const operations = new Gauge({
    name: 'comeback_operations',
    help: 'Operations by state; those that ended, of the last day.',
    labelNames: ['state'] as const,
    registers,
    collect: async () => {
      const rows = await db
        .selectFrom('operations')
        .select(['state', sql<number>`count(*)::int`.as('n')])
        .where((row) => row.or([row('ended_at', 'is', null), row('ended_at', '>', sql<Date>`now() - interval '1 day'`)]))
        .groupBy('state')
        .execute()
      for (const state of operationStates) operations.set({ state }, rows.find((row) => row.state === state)?.n ?? 0)
    },
  })
  const oldest = new Gauge({
    name: 'comeback_operation_oldest_seconds',
    help: 'Age of the oldest operation that has not ended.',
    registers,
    collect: async () => {
      const row = await db
        .selectFrom('operations')
        .select(sql<number>`coalesce(extract(epoch from now() - min(created_at)), 0)::float8`.as('age'))
        .where('ended_at', 'is', null)
        .executeTakeFirst()
      oldest.set(row?.age ?? 0)
    },
  })
  const takeovers = new Gauge({
    name: 'comeback_lease_takeovers',
    help: 'Claims beyond the first one of the operations that have not ended or ended in the last day: restarts and take-overs.',
    registers,
    collect: async () => {
      const row = await db
        .selectFrom('operations')
        .select(sql<number>`coalesce(sum(greatest(attempts - 1, 0)), 0)::int`.as('n'))
        .where((row) => row.or([row('ended_at', 'is', null), row('ended_at', '>', sql<Date>`now() - interval '1 day'`)]))
        .executeTakeFirst()
      takeovers.set(row?.n ?? 0)
    },
  })
  const space = new Gauge({
    name: 'comeback_pool_bytes',
    help: 'Space of a pool as last measured.',
    labelNames: ['pool', 'kind'] as const,
    registers,
    collect: async () => {
      for (const { name, total_bytes, free_bytes } of await db.selectFrom('pools').selectAll().execute()) {
        space.set({ pool: name, kind: 'total' }, total_bytes)
        space.set({ pool: name, kind: 'free' }, free_bytes)
      }
    },
  })
  const low = new Gauge({
    name: 'comeback_pool_low',
    help: 'Whether a pool has less free space than is warned of (1) or not (0).',
    labelNames: ['pool'] as const,
    registers,
    collect: async () => {
      for (const { name, low_since } of await db.selectFrom('pools').select(['name', 'low_since']).execute())
        low.set({ pool: name }, low_since === null ? 0 : 1)
    },
  })
  const silence = new Gauge({
    name: 'comeback_host_silent_seconds',
    help: 'Seconds since a host was last heard of.',
    labelNames: ['host'] as const,
    registers,
    collect: async () => {
      const age = sql<number | null>`extract(epoch from now() - seen_at)::float8`.as('age')
      for (const { name, age: seconds } of await db.selectFrom('hosts').select(['name', age]).execute())
        silence.set({ host: name }, seconds ?? Number.POSITIVE_INFINITY)
    },
  })
}

async function answersSoon(db: Db): Promise<boolean> {
  const late = new Promise<false>((resolve) => setTimeout(resolve, 2000, false).unref())
  const asked = sql`select 1`.execute(db).then(
    () => true,
    () => false,
  )
  return await Promise.race([asked, late])
}
