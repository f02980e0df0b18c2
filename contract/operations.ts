import { z } from 'zod'
import { operationStates } from '../src/domain/operation.ts'
import { endpoint } from './endpoint.ts'
import { disks, everybody, flag, instanceId, open, operationId, page, pageOf, time } from './words.ts'

export const operationStateNames = operationStates

export const problem = z.object({ code: z.string(), message: z.string() }).meta({ id: 'Problem' })

export const step = z
  .object({
    name: z.string(),
    state: z.enum(['started', 'done', 'failed', 'undoing', 'undone']),
    attempt: z.int(),
    started_at: time,
    ended_at: time.nullable(),
    problem: problem.nullable(),
  })
  .meta({ id: 'Step' })

export const operation = z
  .object({
    id: operationId,
    kind: z.string(),
    state: z.enum(operationStates),
    instance: instanceId.nullable(),
    waits_for: operationId.nullable().describe('It begins when this other operation has ended'),
    project: z.string().nullable(),
    user: z.string().nullable(),
    request_id: z.string(),
    created_at: time,
    started_at: time.nullable(),
    ended_at: time.nullable(),
    problem: problem.nullable().describe('Why it was undone, or what keeps it stuck'),
    result: z.unknown().describe('What it achieved; null until done'),
    warnings: z.array(problem),
  })
  .meta({ id: 'Operation', description: 'One durable run: it ends done, undone or visibly stuck, whatever crashes.' })
export type OperationView = z.output<typeof operation>

export const operationWithSteps = operation
  .extend({ steps: z.array(step), last_event: z.int().describe('Number of its latest event') })
  .meta({ id: 'OperationWithSteps' })

export const operationEvent = z
  .object({
    seq: z.int(),
    operation: operationId,
    at: time,
    type: z.enum(['created', 'claimed', 'step', 'progress', 'warning', 'ended']),
    data: open,
  })
  .meta({ id: 'OperationEvent' })
export type OperationEventView = z.output<typeof operationEvent>

export type OperationWithSteps = z.output<typeof operationWithSteps>

/** What starting something answers. Further fields name what was created. */
export const started = { operation: operationWithSteps }

const one = z.strictObject({ operation: operationId })
const noun = 'operations'
const streamNotes =
  'Server-sent events: `id` is the event number, `event` its type, `data` the event. Continue with Last-Event-ID (or `after`): ' +
  'no event is left out or repeated. A comment line every 15 seconds shows that the connection lives. '

export const listOperations = endpoint('listOperations', {
  method: 'GET',
  path: '/v1/operations',
  noun,
  summary: 'List operations, latest first',
  query: z.strictObject({
    ...page,
    ...everybody,
    instance: instanceId.optional(),
    state: z.enum(operationStates).optional(),
    active: flag.optional().describe('Only those that have not ended'),
    kind: z.string().max(64).optional(),
  }),
  answer: pageOf(operation),
})

export const showOperation = endpoint('showOperation', {
  method: 'GET',
  path: '/v1/operations/{operation}',
  noun,
  summary: 'Show an operation and its steps',
  params: one,
  answer: operationWithSteps,
  refusals: ['notFound'],
})

export const cancelOperation = endpoint('cancelOperation', {
  method: 'POST',
  path: '/v1/operations/{operation}/cancel',
  noun,
  summary: 'Ask an operation to go back',
  description: 'It goes back if it has not passed its point of no return. Answers at once; watch it to see how it ends.',
  params: one,
  answer: operationWithSteps,
  refusals: ['notFound'],
})

export const forceEndOperation = endpoint('forceEndOperation', {
  method: 'POST',
  path: '/v1/operations/{operation}/force-end',
  noun,
  summary: 'End a stuck operation',
  description: 'Its layers are set aside, none is deleted; its locks are freed. Look at the disks before you use them again.',
  who: 'admin',
  params: one,
  answer: operationWithSteps,
  refusals: ['notFound', 'operationNotStuck'],
})

export const undoOperation = endpoint('undoOperation', {
  method: 'POST',
  path: '/v1/operations/{operation}/undo',
  noun,
  summary: 'Take back a rollback or a revert that is done',
  description:
    'Rolls back, in one call, to the safety snapshots that the operation made. It makes safety snapshots of its own.',
  params: one,
  body: z.strictObject({
    power_state_after: z.enum(['on', 'off', 'as-before']).default('as-before'),
    stop: z.enum(['graceful', 'hard']).default('graceful'),
    stop_seconds: z.int().min(0).max(3600).default(60),
    disks: disks.optional().describe('Only these, by device or volume id; default: all that the operation changed'),
  }),
  gives: 'operation',
  answer: z.object(started),
  refusals: ['notFound', 'nothingToUndo', 'instanceBusy', 'volumeBusy', 'preflightFailed'],
})

export const watchOperation = endpoint('watchOperation', {
  method: 'GET',
  path: '/v1/operations/{operation}/events',
  noun,
  summary: 'Follow an operation',
  description: `${streamNotes}Begins with its first event; ends after its \`ended\` event, and answers 204 when all was already received.`,
  params: one,
  query: z.strictObject({ after: z.coerce.number<string | number>().int().min(0).optional() }),
  gives: 'events',
  answer: operationEvent,
  refusals: ['notFound'],
})

export const watchOperations = endpoint('watchOperations', {
  method: 'GET',
  path: '/v1/events',
  noun,
  summary: 'Follow all operations of the project',
  description: `${streamNotes}Begins with what happens next, and does not end.`,
  query: z.strictObject({ ...everybody, after: z.coerce.number<string | number>().int().min(0).optional() }),
  gives: 'events',
  answer: operationEvent,
})
