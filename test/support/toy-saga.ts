/** A saga that says what it does, and fails or waits where a test wants it to. Its rows are lines of the audit log. */
import type { OperationId } from '../../src/domain/ids.ts'
import type { Db, Tx } from '../../src/ports/tables.ts'
import { noUndo, type StepContext, saga } from '../../src/sagas/engine/define.ts'

export type ToyWorld = {
  readonly told: string[]
  readonly when: Readonly<Record<string, (signal: AbortSignal) => unknown>>
}

export const toyWorld = (when: ToyWorld['when'] = {}): ToyWorld => ({ told: [], when })

type Context = Pick<StepContext<ToyWorld, unknown, unknown>, 'world' | 'signal'>

async function act({ world, signal }: Context, what: string): Promise<string> {
  world.told.push(what)
  await world.when[what]?.(signal)
  return `${what} went well`
}

const record = (tx: Tx, operation: OperationId) =>
  tx
    .insertInto('audit_log')
    .values({
      request_id: 'toy',
      action: 'toy',
      outcome: 'recorded',
      user_id: null,
      project_id: null,
      target: null,
      operation_id: operation,
    })
    .execute()

/** How often the toy's commit (or its afterUndo) took effect. */
export const recordsOf = async (db: Db, operation: OperationId): Promise<number> =>
  (await db.selectFrom('audit_log').select('seq').where('operation_id', '=', operation).where('action', '=', 'toy').execute())
    .length

export const toy = saga<ToyWorld, { name: string }, Tx>('toy')
  .step('first', {
    do: (context) => act(context, 'first'),
    undo: async (context) => void (await act(context, 'undo first')),
  })
  .step('look', { do: (context) => act(context, 'look'), undo: noUndo('it only looks') })
  .step('second', {
    do: async (context) => {
      context.progress({ percent: 50 })
      return { said: await act(context, 'second'), before: context.done.first }
    },
    undo: async (context) => void (await act(context, 'undo second')),
  })
  .commit('record', async (context, tx) => {
    await record(tx, context.operation)
    return await act(context, 'record')
  })
  .finish('tidy', (context) => act(context, 'tidy'), { attempts: 2 })
  .afterUndo(async (context, tx) => {
    if ('after undo' in context.world.when) await record(tx, context.operation)
    await act(context, 'after undo')
  })
  .build(({ params, done }) => ({
    name: params.name,
    said: done.second.said,
    before: done.second.before,
    tidy: done.tidy ?? null,
  }))

/** The same with a second step that cannot be taken back once it happened; `proof` says whether it did not. */
export const brave = saga<ToyWorld, { name: string }, Tx>('toy')
  .step('first', {
    do: (context) => act(context, 'first'),
    undo: async (context) => void (await act(context, 'undo first')),
  })
  .step('leap', {
    do: (context) => act(context, 'leap'),
    undo: async (context) => void (await act(context, 'proof')),
    pointOfNoReturn: true,
  })
  .step('third', {
    do: (context) => act(context, 'third'),
    undo: async (context) => void (await act(context, 'undo third')),
  })
  .commit('record', async (context, tx) => {
    await record(tx, context.operation)
    return await act(context, 'record')
  })
  .build()
