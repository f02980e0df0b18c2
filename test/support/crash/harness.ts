/**
 * Runs one saga through every accident that can befall it. A *story* is what goes wrong in the saga itself: nothing, or one
 * step that does its work and then fails. Each story is first told without accidents, which shows its points; then once for
 * every point and every accident there, restarting until the operation rests. It must end as the story ends without
 * accidents, and leave the same world and tables: all done, or all as it was.
 */

import type { OperationId } from '../../../src/domain/ids.ts'
import { refuse } from '../../../src/domain/refusals.ts'
import { LeaseLost } from '../../../src/ports/journal.ts'
import { execute } from '../../../src/sagas/engine/execute.ts'
import type { AnySaga, AnyStep, StepOf } from '../../../src/sagas/engine/run.ts'
import type { TestDatabase } from '../database.ts'
import { quietLog } from '../quiet-log.ts'
import { differences } from './differences.ts'
import { type Accident, Crash, type Fault, Life } from './life.ts'
import { hastyClock, type MemoryWorld } from './memory-world.ts'
import { hastyPace, type Kit, undisturbed } from './scenario.ts'
import { readTables, type TablesState } from './tables-state.ts'

export type State = { readonly tables: TablesState; world: unknown }
export type Ending = 'done' | 'undone' | 'stuck'
export type Told = {
  readonly ending: Ending
  readonly state: State
  readonly world: MemoryWorld
  readonly life: Life
  readonly warnings: number
}

/** `failing`: the step that fails; `twice`: every do and undo is run twice in a row. */
export type Story = { readonly failing: string | null; readonly twice: boolean }

/** An operation that was begun and not run, and how to have that moment back. */
export type Begun = {
  readonly kit: Kit
  readonly saga: AnySaga
  readonly operation: OperationId
  readonly world: MemoryWorld
  readonly restore: () => Promise<void>
}

export const storiesOf = ({ steps }: AnySaga): Story[] => [
  { failing: null, twice: false },
  { failing: null, twice: true },
  ...steps.flatMap(({ name: failing, kind }) => [
    { failing, twice: false },
    ...(kind === 'finish' ? [] : [{ failing, twice: true }]),
  ]),
]

export const titleOf = ({ failing, twice }: Story): string =>
  `${failing === null ? 'nothing fails' : `${failing} fails`}${twice ? ', every action and undo twice' : ''}`

/**
 * All that may go wrong in a story with these points, from the step on that fails in it: until then it goes as the story in
 * which nothing fails. So it does again after a `finish` that failed. To be killed before a point is to be killed after the
 * one before it, so only the first is tried on both sides.
 */
export function faultsOf({ points }: Life, { failing }: Story): Fault[] {
  const begins = failing === null ? 0 : points.findIndex(({ name }) => name.endsWith(` ${failing}`))
  const gaveUp = points.findIndex(({ name }) => name === `journal.gave up ${failing}`)
  return points.flatMap(({ kind, name, reads }, at) => {
    if (at < begins || (gaveUp !== -1 && at > gaveUp)) return []
    const accidents: Accident[] = []
    if (at === begins || name.startsWith('inside')) accidents.push('crash before')
    if (!reads) accidents.push('crash after', 'taken over')
    if (kind === 'world') accidents.push('reply lost')
    return accidents.map((accident) => ({ at, accident }))
  })
}

/** Restarts that an operation may need; one that does not rest by then never will. */
const livesAllowed = 6

/** Tells the story once, with or without an accident, until the operation rests. */
export async function tell(begun: Begun, database: TestDatabase, story: Story, fault: Fault | null = null): Promise<Told> {
  await begun.restore()
  const world = begun.world.copy()
  const saga = broken(begun.saga, story)
  const liveOn = async (first: Life) => {
    for (let life = first, lives = 0; lives < livesAllowed; life = new Life(), lives++) {
      if (!(await live(begun, database, saga, world, life))) return
    }
  }
  const first: Life = new Life(fault, () => liveOn(new Life()))
  await liveOn(first)
  const operation = await begun.kit.operations.show(begun.operation)
  const ending = operation?.state
  if (ending !== 'done' && ending !== 'undone' && ending !== 'stuck') throw new Error(`it never came to rest: ${ending}`)
  const state = { tables: await readTables(begun.kit.db), world: world.state() }
  return { ending, state, world, life: first, warnings: operation?.warnings.length ?? 0 }
}

/** One life of a controller; false when nothing is left to do. */
async function live(begun: Begun, database: TestDatabase, saga: AnySaga, world: MemoryWorld, life: Life): Promise<boolean> {
  const { claims } = begun.kit
  const claim = (await claims.claim([saga], 10)).find(({ operation }) => operation === begun.operation)
  if (!claim) return false
  const { operation, epoch, requestId } = claim
  const ticket = { operation, epoch, requestId, resourceOfFence: `operation:${operation}` }
  try {
    const ending = await execute({
      ...undisturbed,
      saga,
      claim,
      journal: life.journal(claims.journalOf(claim)),
      world: world.seenBy(life.database(database.pool, claim), (target, name) =>
        life.guard(target, name, () => world.admit(ticket)),
      ),
      clock: hastyClock,
      log: quietLog(),
      pace: hastyPace,
    })
    return ending === 'stuck'
  } catch (error) {
    if (!(error instanceof Crash || error instanceof LeaseLost)) throw error
  }
  return true
}

/** How a story may end, and what it must leave when it ends so. */
type Outcomes = ReadonlyMap<Ending, State>

function wrongWith(told: Told, outcomes: Outcomes): string[] {
  const expected = outcomes.get(told.ending)
  if (!expected) return [`it ended ${told.ending}, expected ${[...outcomes.keys()].join(' or ')}`]
  return differences(told.state, expected)
}

async function outcomesOf(begun: Begun, database: TestDatabase, story: Story, clean: Told, asItWas: State): Promise<Outcomes> {
  const endings = endingsOf(begun.saga, story)
  const whenDone = async () =>
    clean.ending === 'done' ? clean.state : (await tell(begun, database, { failing: null, twice: false })).state
  return new Map(
    await Promise.all(
      endings.map(async (ending): Promise<[Ending, State]> => [ending, ending === 'undone' ? asItWas : await whenDone()]),
    ),
  )
}

/** What storage does in another way when it keeps many points in a layer. */
const dependsOnShape = /^(storage\.(newLayer|mark|unmark|merge|importUpload|survey)|host\.(pivot|mergeLive))$/

/** Whether it matters for the accidents of a story which shape the storage has. */
export const touchesShape = ({ points }: Life): boolean => points.some(({ name }) => dependsOnShape.test(name))

/** Story by story, accident by accident; answers what went wrong, in words. */
export async function sufferAll(begun: Begun, database: TestDatabase, story: Story, asItWas: State): Promise<string[]> {
  const clean = await tell(begun, database, story)
  const outcomes = await outcomesOf(begun, database, story, clean, asItWas)
  const complaints = wrongWith(clean, outcomes).map((what) => `without any accident: ${what}`)
  if (complaints.length > 0 || story.twice || (begun.kit.pointsPerLayer === 'many' && !touchesShape(clean.life)))
    return complaints
  for (const fault of faultsOf(clean.life, story)) {
    const where = `${fault.accident} at point ${fault.at} (${clean.life.points[fault.at]?.name})`
    try {
      const told = await tell(begun, database, story, fault)
      complaints.push(...wrongWith(told, outcomes).map((what) => `${where}: ${what}`))
    } catch (error) {
      complaints.push(`${where}: ${String(error)}`)
    }
  }
  return complaints
}

/** Failing at the point of no return, a saga may go either way, as the world shows. */
function endingsOf({ steps }: AnySaga, { failing }: Story): readonly Ending[] {
  const at = steps.findIndex(({ name }) => name === failing)
  const noReturn = steps.findIndex((step) => step.kind === 'step' && step.pointOfNoReturn)
  if (failing === null || steps[at]?.kind === 'finish') return ['done']
  if (noReturn === -1 || at < noReturn) return ['undone']
  return at === noReturn ? ['done', 'undone'] : ['done']
}

/** How often a step fails that is repeated until it goes well. */
const failuresBeyondReturn = 2

/** The saga of the story: one step does its work and then fails; or everything happens twice. */
function broken(saga: AnySaga, { failing, twice }: Story): AnySaga {
  const { steps: all } = saga
  const noReturn = all.findIndex((step) => step.kind === 'step' && step.pointOfNoReturn)
  const isRepeated = noReturn !== -1 && all.findIndex(({ name }) => name === failing) >= noReturn
  let left = isRepeated ? failuresBeyondReturn : Number.POSITIVE_INFINITY
  const fail = async (output: unknown) => {
    if (left-- > 0) throw refuse.hostFailure({ what: `failure put into ${failing}` })
    return output
  }
  const steps = saga.steps.map((step): AnyStep => {
    const again = twice ? doubled(step) : step.kind === 'finish' ? { ...step, attempts: 2 } : step
    if (step.name !== failing) return again
    if (again.kind === 'commit') {
      return { ...again, do: async (context, tx) => again.do(context, tx).then(fail) }
    }
    return { ...again, do: async (context: Context) => again.do(context).then(fail) }
  })
  return { ...saga, steps }
}

type Context = Parameters<StepOf<'step'>['do']>[0]

function doubled(step: AnyStep): AnyStep {
  if (step.kind === 'commit') return step
  const twice = (run: (context: Context) => Promise<unknown>) => (context: Context) => run(context).then(() => run(context))
  if (step.kind === 'finish') return { ...step, do: twice(step.do) }
  const { undo } = step
  if (typeof undo !== 'function') return { ...step, do: twice(step.do) }
  return { ...step, do: twice(step.do), undo: async (context: Context) => void (await twice(undo)(context)) }
}
