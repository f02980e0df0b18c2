import { z } from 'zod'
import { endpoint, none } from './endpoint.ts'
import { name, pageOf, planId, time } from './words.ts'

const cap = z.int().min(0).max(100_000)
const credits = z.number().min(0).max(1e9).describe('Credits per GiB and month')

const terms = {
  name,
  max_snapshots: cap.describe('Snapshots a volume may keep, those of its instance not counted'),
  max_backups: cap.describe('Backups a volume may keep'),
  cooldown_seconds: z.int().min(0).max(31_536_000).describe('Pause after a snapshot, backup or restore of a volume'),
  snapshot_credit_value: credits,
  backup_credit_value: credits,
}

export const plan = z.object({ id: planId, ...terms, name: z.string(), created_at: time }).meta({ id: 'Plan' })
export type PlanView = z.output<typeof plan>

const ofPlan = z.strictObject({ plan: planId })
const noun = 'plans'

export const listPlans = endpoint('listPlans', {
  method: 'GET',
  path: '/v1/plans',
  noun,
  summary: 'List the plans of volumes',
  answer: pageOf(plan),
})

export const createPlan = endpoint('createPlan', {
  method: 'POST',
  path: '/v1/plans',
  noun,
  summary: 'Make a plan',
  who: 'admin',
  body: z.strictObject({
    name,
    max_snapshots: terms.max_snapshots.default(5),
    max_backups: terms.max_backups.default(10),
    cooldown_seconds: terms.cooldown_seconds.default(300),
    snapshot_credit_value: credits.default(0),
    backup_credit_value: credits.default(0),
  }),
  answer: plan,
  refusals: ['nameTaken'],
})

export const changePlan = endpoint('changePlan', {
  method: 'PATCH',
  path: '/v1/plans/{plan}',
  noun,
  summary: 'Change a plan, for all its volumes at once',
  description: 'What is already kept beyond a lowered cap stays.',
  who: 'admin',
  params: ofPlan,
  body: z.strictObject(terms).partial(),
  answer: plan,
  refusals: ['notFound', 'nameTaken'],
})

export const deletePlan = endpoint('deletePlan', {
  method: 'DELETE',
  path: '/v1/plans/{plan}',
  noun,
  summary: 'Delete a plan that no volume is in',
  who: 'admin',
  params: ofPlan,
  answer: none,
  refusals: ['notFound', 'inUse'],
})
