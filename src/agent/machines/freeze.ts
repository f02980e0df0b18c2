/**
 * Quieting the guest's file systems for a snapshot. The guest agent itself never thaws by itself, so whoever freezes owes a
 * thaw: the intention is durable before the order goes out, and an order that got no answer is followed by a thaw until one
 * is answered, by this agent or the next.
 */
import { setTimeout as pause } from 'node:timers/promises'
import type { OperationId } from '../../domain/ids.ts'
import { failpoint } from '../../failpoints.ts'
import { GuestTalk } from '../qmp/guest-agent.ts'
import type { LiveMachine } from './live.ts'
import type { Machine } from './machine.ts'

export type Frozen = { readonly thaw: () => Promise<void> }

/** A thaw takes some milliseconds (up to 0.12 s seen). */
const thawMs = 5_000
const thawAgainMs = 500

/** Freezes within the time, or says why not. Then nothing is frozen, or is about to be thawed. */
export async function freezeGuest(
  machine: Machine,
  live: LiveMachine,
  operation: OperationId,
  seconds: number,
): Promise<Frozen | { readonly why: string }> {
  const until = performance.now() + seconds * 1000
  const left = (): number => Math.max(1, until - performance.now())
  if (machine.record.frozenBy !== null) return { why: 'An earlier freeze of the guest is still being taken back.' }
  if (!(await live.guestListens('qga'))) return { why: 'The guest runs no guest agent.' }
  let talk: GuestTalk
  try {
    talk = await GuestTalk.begin(live.directory, left())
  } catch {
    return { why: 'The guest agent did not answer.' }
  }
  await machine.save({ frozenBy: operation })
  await failpoint('agent.pivot.before-freeze')
  try {
    const frozen = await talk.ask('guest-fsfreeze-freeze', {}, left())
    await failpoint('agent.pivot.after-freeze')
    if (frozen !== 0) return { thaw: () => thaw(machine, live, talk) }
    await thaw(machine, live, talk)
    return { why: 'The guest has no file system that can be frozen.' }
  } catch (error) {
    machine.log.warn({ err: error }, 'the guest could not be frozen')
    await thaw(machine, live, talk)
    return { why: 'The guest agent did not freeze the file systems in time.' }
  }
}

/** Thaws in the same talk, which comes after the freeze whenever the guest gets to it; if that fails, by new talks until one succeeds. */
async function thaw(machine: Machine, live: LiveMachine, talk: GuestTalk): Promise<void> {
  try {
    await talk.ask('guest-fsfreeze-thaw', {}, thawMs)
    talk.end()
  } catch (error) {
    machine.log.error({ err: error }, 'the guest did not thaw; trying again')
    talk.end()
    thawForSure(machine, live)
    return
  }
  await machine.save({ frozenBy: null })
}

/** Thaws in the background until the guest says that it is thawed, or the process is gone. */
export function thawForSure(machine: Machine, live: LiveMachine): void {
  const tryOnce = async (): Promise<boolean> => {
    const talk = await GuestTalk.begin(live.directory, thawMs)
    try {
      await talk.ask('guest-fsfreeze-thaw', {}, thawMs)
      return true
    } finally {
      talk.end()
    }
  }
  const untilDone = async (): Promise<void> => {
    while (machine.live === live) {
      if (await tryOnce().catch(() => false)) {
        await machine.serial.run(() => (machine.live === live ? machine.save({ frozenBy: null }) : Promise.resolve()))
        machine.log.info('the guest is thawed')
        return
      }
      await pause(thawAgainMs, undefined, { ref: false })
    }
  }
  void untilDone().catch((error: unknown) => machine.log.error({ err: error }, 'thawing failed'))
}
