/**
 * Quieting the guest for a snapshot, through its agent. The guest agent never thaws by itself, so whoever freezes owes a thaw:
 * the intention is durable before the order goes out, and an order that got no answer is followed by a thaw until one is
 * answered, by this agent or the next (`thaw.ts`).
 *
 * That the order to freeze was answered is not yet proof for the moment that counts: the guest may have been thawed by somebody
 * else since. So right after that moment the agent is asked whether it is still frozen, in one breath with the order to thaw,
 * and the thaw must find as many frozen file systems as the freeze left.
 */
import type { OperationId } from '../../domain/ids.ts'
import { failpoint } from '../../failpoints.ts'
import { QmpRefused } from '../qmp/errors.ts'
import { GuestTalk } from '../qmp/guest-agent.ts'
import { whyNoHooks } from './freeze-hook.ts'
import type { LiveMachine } from './live.ts'
import type { Machine } from './machine.ts'
import { isThawed, type Thawed, thaw, thawForSure } from './thaw.ts'

export type FreezeRequest = {
  readonly operation: OperationId
  /** From now until the order to thaw. */
  readonly seconds: number
  readonly hooks: boolean
}

export type Quiet = { readonly achieved: 'application' | 'filesystem' | 'crash'; readonly why: string | null }

/** How the attempt went. Whatever it says, `end` is called when the disks were turned. */
export type Freeze = {
  /** When the order went out; null: nothing was asked of the guest. */
  readonly since: number | null
  /** Until when the guest may stay frozen; null: it is not. */
  readonly until: number | null
  /** Thaws, unless that was done, and says how quiet the guest was until then. */
  readonly end: () => Promise<Quiet>
}

const notFrozen = (why: string, since: number | null = null): Freeze => ({
  since,
  until: null,
  end: async () => ({ achieved: 'crash', why }),
})

/** Freezes within the time, or says why not. */
export async function freezeGuest(machine: Machine, live: LiveMachine, request: FreezeRequest): Promise<Freeze> {
  const until = performance.now() + request.seconds * 1000
  const left = (): number => Math.max(1, until - performance.now())
  if (machine.record.frozenBy !== null) {
    thawForSure(machine, live)
    return notFrozen('An earlier freeze of the guest is still being taken back.')
  }
  if (!(await live.guestListens('qga'))) return notFrozen('The guest runs no guest agent.')
  let talk: GuestTalk
  let less: string | null
  try {
    talk = await GuestTalk.begin(live.directory, left())
  } catch {
    return notFrozen('The guest agent did not answer.')
  }
  try {
    less = request.hooks ? await whyNoHooks(talk, left) : null
  } catch {
    talk.end()
    return notFrozen('The guest agent did not answer.')
  }
  await machine.save({ frozenBy: request.operation })
  await failpoint('agent.pivot.before-freeze')
  const since = performance.now()
  try {
    const frozen = await talk.ask('guest-fsfreeze-freeze', {}, left())
    await failpoint('agent.pivot.after-freeze')
    if (typeof frozen === 'number' && frozen > 0) return quiet(machine, live, { talk, frozen, since, until, request, less })
    await thaw(machine, live, talk)
    return notFrozen('The guest has no file system that can be frozen.', since)
  } catch (error) {
    machine.log.warn({ err: error }, 'the guest could not be frozen')
    const thawed = await thaw(machine, live, talk)
    return notFrozen(`${whyNotFrozen(error)}${isThawed(thawed) ? '' : ` ${notThawed}`}`, since)
  }
}

const notThawed = 'It has not answered since; it is told to thaw until it does.'

/** What the agent says of itself is a stranger's text. */
function whyNotFrozen(error: unknown): string {
  if (!(error instanceof QmpRefused)) return 'The guest agent did not freeze the file systems in time.'
  const said = error.description.replaceAll(/[^\x20-\x7e]+/g, ' ').slice(0, 200)
  return `The guest agent did not freeze the file systems; it said: ${said}.`
}

type Frozen = {
  readonly talk: GuestTalk
  /** File systems. */
  readonly frozen: number
  readonly since: number
  readonly until: number
  readonly request: FreezeRequest
  readonly less: string | null
}

function quiet(machine: Machine, live: LiveMachine, { talk, frozen, since, until, request, less }: Frozen): Freeze {
  let ended: Promise<Quiet> | undefined
  const end = async (): Promise<Quiet> => {
    const why = whyNotHeld(await thaw(machine, live, talk), frozen)
    if (why !== null) return { achieved: 'crash', why }
    return { achieved: request.hooks && less === null ? 'application' : 'filesystem', why: less }
  }
  return { since, until, end: () => (ended ??= end()) }
}

/** Null: the file systems were frozen until the thaw. */
function whyNotHeld({ status, thawed }: Thawed, frozen: number): string | null {
  if (thawed === null)
    return `The guest agent did not answer after the freeze, so it is not known whether the freeze held. ${notThawed}`
  if (status === null) return 'The guest agent did not say whether the freeze held.'
  if (status !== 'frozen') return 'The guest was thawed by somebody else before its disks were turned.'
  if (typeof thawed === 'number' && thawed < frozen)
    return 'Some of the guest’s file systems were thawed by somebody else before its disks were turned.'
  return null
}
