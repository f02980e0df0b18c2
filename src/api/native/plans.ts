import type { FastifyInstance } from 'fastify'
import type { Selectable } from 'kysely'
import { endpoints } from '../../../contract/index.ts'
import type { PlanView } from '../../../contract/plans.ts'
import { changePlan, createPlan, deletePlan, listPlans, type PlanTerms } from '../../app/plans.ts'
import type { Tables } from '../../ports/tables.ts'
import type { NativeNeeds } from './needs.ts'
import { serve } from './serve.ts'

export function planRoutes(app: FastifyInstance, { db, policy }: NativeNeeds): void {
  serve(app, endpoints.listPlans, async ({ caller }) => {
    policy.require(caller, 'comeback:plans:list')
    return { items: (await listPlans(db)).map(viewOf), next: null }
  })

  serve(app, endpoints.createPlan, async ({ caller, body, request }) => {
    policy.require(caller, 'comeback:plans:create')
    const { max_snapshots, max_backups, cooldown_seconds, snapshot_credit_value, backup_credit_value } = body
    const made = await createPlan(db, {
      name: body.name,
      maxSnapshots: max_snapshots,
      maxBackups: max_backups,
      cooldownSeconds: cooldown_seconds,
      snapshotCreditValue: snapshot_credit_value,
      backupCreditValue: backup_credit_value,
    })
    request.audited.target = made.id
    return viewOf(made)
  })

  serve(app, endpoints.changePlan, async ({ caller, params, body }) => {
    policy.require(caller, 'comeback:plans:update')
    const given: Record<keyof PlanTerms, string | number | undefined> = {
      name: body.name,
      maxSnapshots: body.max_snapshots,
      maxBackups: body.max_backups,
      cooldownSeconds: body.cooldown_seconds,
      snapshotCreditValue: body.snapshot_credit_value,
      backupCreditValue: body.backup_credit_value,
    }
    const terms: Partial<PlanTerms> = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
    return viewOf(await changePlan(db, params.plan, terms))
  })

  serve(app, endpoints.deletePlan, async ({ caller, params }) => {
    policy.require(caller, 'comeback:plans:delete')
    await deletePlan(db, params.plan)
    return {}
  })
}

const viewOf = ({ created_at, ...row }: Selectable<Tables['plans']>): PlanView => ({
  ...row,
  created_at: created_at.toISOString(),
})
