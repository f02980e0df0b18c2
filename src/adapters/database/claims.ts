import { sql } from 'kysely'
import type { Claim, Claims } from '../../ports/journal.ts'
import type { Db } from '../../ports/tables.ts'
import { appendEvent } from './append-event.ts'
import { journalOf } from './journal.ts'
import { channels, type Listener } from './listen.ts'
import { transact } from './transact.ts'

export type ClaimsOptions = {
  readonly db: Db
  readonly listener: Listener
  /** Who claims: the same name in every life of the same controller, and no other's. */
  readonly owner: string
  readonly leaseMs?: number
}

/** A controller that is killed delays what it was doing by this long; one that hangs for longer loses it. */
const defaultLeaseMs = 10_000

export function createClaims({ db, listener, owner, leaseMs = defaultLeaseMs }: ClaimsOptions): Claims {
  const leaseEnd = sql<Date>`clock_timestamp() + ${leaseMs} * interval '1 millisecond'`
  return {
    leaseMs,
    journalOf: (claim) => journalOf(db, claim),
    onDue: (wake) => listener.subscribe(channels.work, wake),

    claim: (known, atMost) =>
      transact(db, async (tx) => {
        const { rows } = await sql<Claim>`
          with known as (
            select * from unnest(${known.map(({ name }) => name)}::text[], ${known.map(({ version }) => version)}::int[])),
          due as (
            select id from operations
            where state in ('pending', 'running', 'undoing', 'stuck') and run_at <= clock_timestamp()
              and (lease_until is null or lease_until < clock_timestamp()) and (kind, version) in (select * from known)
              and not exists (
                select from operations w where w.id = operations.waits_for and w.ended_at is null)
            order by run_at limit ${atMost} for update skip locked)
          update operations o
          set epoch = nextval('epochs'), lease_owner = ${owner}, lease_until = ${leaseEnd},
            started_at = coalesce(started_at, clock_timestamp()), state = case state when 'pending' then 'running' else state end
          from due where o.id = due.id
          returning o.id as operation, o.kind, o.version, o.epoch, o.params, o.state, o.attempts,
            o.cancel_requested as "cancelRequested", o.problem, o.warnings, o.instance_id as instance,
            (select resource from locks l where l.operation_id = o.id and l.mode = 'exclusive'
              order by array_position(array['instance', 'volume'], split_part(resource, ':', 1)), resource limit 1) as resource,
            o.request_id as "requestId", o.project_id as "projectId", o.user_id as "userId"`.execute(tx)
        for (const { operation, epoch } of rows) await appendEvent(tx, operation, { type: 'claimed', data: { owner, epoch } })
        return rows
      }),

    takeBack: async () => {
      await db
        .updateTable('operations')
        .set({ lease_owner: null, lease_until: null })
        .where('lease_owner', '=', owner)
        .where('ended_at', 'is', null)
        .execute()
    },

    async renew({ operation, epoch }) {
      const row = await db
        .updateTable('operations')
        .set({ lease_until: leaseEnd })
        .where('id', '=', operation)
        .where('epoch', '=', epoch)
        .where('lease_owner', '=', owner)
        .returning('cancel_requested')
        .executeTakeFirst()
      return row ? { cancelRequested: row.cancel_requested } : null
    },

    async release({ operation, epoch }) {
      await sql`
        with freed as (
          update operations set lease_owner = null, lease_until = null
          where id = ${operation} and epoch = ${epoch} and ended_at is null returning id)
        select pg_notify(${channels.work}, id::text) from freed`.execute(db)
    },
  }
}
