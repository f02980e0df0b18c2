/**
 * Describes a saga: promises in order, each with how to take it back.
 *
 * - `step`: an effect in the world. `do` may run again after a crash, so it looks or repeats: everything it makes was named
 *   beforehand. `undo` runs if `do` ran fully, in part or not at all, so it sees only the outputs of earlier steps.
 *   Every step has an undo, or says in words why it needs none.
 *   One step may be the point of no return, where the world cannot be taken back: once it is done, cancelling is too late, and
 *   what follows is repeated until it goes well, the operation shown as stuck meanwhile. Its undo proves that it has not
 *   happened, or rejects; then the step is done again instead.
 * - `commit`: database only. Its effect, its events and its own `done` are one transaction. Until it is done the saga can go
 *   back; a commit may refuse (throw a Refusal) and the saga goes back. Once it is done there is no way back.
 * - `finish`: after the point of no return. Bounded attempts, then its failure becomes its result: a warning.
 *
 * After the commit, or the first `finish`, the types offer only `finish`.
 */

import type { OperationId, RequestId } from '../../domain/ids.ts'
import type { Problem } from '../../domain/operation.ts'

export type StepContext<World, Params, Done> = {
  readonly operation: OperationId
  readonly requestId: RequestId
  readonly params: Params
  readonly done: Readonly<Done>
  readonly world: World
  /** Aborted when the lease is lost, cancellation is asked for, or the process shuts down. */
  readonly signal: AbortSignal
  /** Appends a progress event: bytes, percent, words. Never waited for by the effect. */
  readonly progress: (data: Readonly<Record<string, unknown>>) => void
  /** Adds a warning to the operation; it becomes durable with this step's `done`. */
  readonly warn: (problem: Problem) => void
}

/** Says, where an undo would stand, why a step needs none. */
export type NoUndo = { readonly noUndo: string }
export const noUndo = (because: string): NoUndo => ({ noUndo: because })

type Run<World, Params, Done, Output> = (context: StepContext<World, Params, Done>) => Promise<Output>
type Commit<World, Params, Done, Tx, Output> = (context: StepContext<World, Params, Done>, tx: Tx) => Promise<Output>
/** `because`: what made it go back. */
type AfterUndo<World, Params, Done, Tx> = (
  context: StepContext<World, Params, Done> & { readonly because: Problem },
  tx: Tx,
) => Promise<void>

// biome-ignore lint/suspicious/noExplicitAny: the builder checked what each step may read of `done`; here that is forgotten.
type AnyDone = any

export type Step<World, Params, Tx> =
  | {
      readonly kind: 'step'
      readonly name: string
      readonly do: Run<World, Params, AnyDone, unknown>
      readonly undo: Run<World, Params, AnyDone, void> | NoUndo
      readonly pointOfNoReturn?: true
    }
  | { readonly kind: 'commit'; readonly name: string; readonly do: Commit<World, Params, AnyDone, Tx, unknown> }
  | {
      readonly kind: 'finish'
      readonly name: string
      readonly attempts: number
      readonly do: Run<World, Params, AnyDone, unknown>
    }

export type Saga<World, Params, Tx> = {
  readonly name: string
  /** Raised when the meaning of a step changes: an old operation is finished by the old definition or refused. */
  readonly version: number
  readonly steps: readonly Step<World, Params, Tx>[]
  /** After everything was undone: sets rows right that the request itself wrote (a volume that was `creating` is `error`). */
  readonly afterUndo?: AfterUndo<World, Params, AnyDone, Tx>
  /** What the operation shows as its result, made of the steps' outputs. */
  readonly result: (context: { params: Params; done: AnyDone; operation: OperationId }) => unknown
}

export interface Forward<World, Params, Done, Tx> extends Past<World, Params, Done, Tx> {
  step<Name extends string, Output>(
    name: Name,
    step: {
      do: Run<World, Params, Done, Output>
      undo: NoUndo | Run<World, Params, Done, void>
    },
  ): Forward<World, Params, Done & { [Key in Name]: Output }, Tx>
  step<Name extends string, Output>(
    name: Name,
    step: {
      do: Run<World, Params, Done, Output>
      undo: Run<World, Params, Done, void>
      pointOfNoReturn: true
    },
  ): Forward<World, Params, Done & { [Key in Name]: Output }, Tx>
  commit<Name extends string, Output>(
    name: Name,
    run: Commit<World, Params, Done, Tx, Output>,
  ): Past<World, Params, Done & { [Key in Name]: Output }, Tx>
}

export interface Past<World, Params, Done, Tx> {
  /** When all attempts reject, the output is undefined and the last rejection is the operation's warning. */
  finish<Name extends string, Output>(
    name: Name,
    run: Run<World, Params, Done, Output>,
    options?: { attempts?: number },
  ): Past<World, Params, Done & { [Key in Name]: Output | undefined }, Tx>
  afterUndo(run: AfterUndo<World, Params, Partial<Done>, Tx>): Past<World, Params, Done, Tx>
  build(result?: (context: { params: Params; done: Done; operation: OperationId }) => unknown): Saga<World, Params, Tx>
}

export function saga<World, Params, Tx>(name: string, version = 1): Forward<World, Params, object, Tx> {
  return builder({ name, version, steps: [], result: () => null }) as Forward<World, Params, object, Tx>
}

const defaultAttempts = 5

function builder<World, Params, Tx>(made: Saga<World, Params, Tx>): unknown {
  const plus = (step: Step<World, Params, Tx>) => {
    if (made.steps.some(({ name }) => name === step.name)) throw new Error(`${made.name} has two steps named ${step.name}`)
    return builder({ ...made, steps: [...made.steps, step] })
  }
  return {
    step: (name: string, how: Omit<Step<World, Params, Tx> & { kind: 'step' }, 'kind' | 'name'>) =>
      plus({ kind: 'step', name, ...how }),
    commit: (name: string, run: Commit<World, Params, AnyDone, Tx, unknown>) => plus({ kind: 'commit', name, do: run }),
    finish: (name: string, run: Run<World, Params, AnyDone, unknown>, options: { attempts?: number } = {}) =>
      plus({ kind: 'finish', name, attempts: options.attempts ?? defaultAttempts, do: run }),
    afterUndo: (run: AfterUndo<World, Params, AnyDone, Tx>) => builder({ ...made, afterUndo: run }),
    build: (result: Saga<World, Params, Tx>['result'] = () => null) => ({ ...made, result }),
  }
}
