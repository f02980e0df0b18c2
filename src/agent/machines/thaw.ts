/** Taking a freeze back, once and for sure. */
import { setTimeout as pause } from 'node:timers/promises'
import { QmpRefused } from '../qmp/errors.ts'
import { GuestTalk } from '../qmp/guest-agent.ts'
import type { LiveMachine } from './live.ts'
import type { Machine } from './machine.ts'

/** A thaw takes some milliseconds (up to 0.12 s seen), and as long as the guest's own hooks take. */
const thawMs = 5_000
const thawAgainMs = 500

/**
 * `status`: the agent's word right before the thaw; null: it gave none. `thawed`: so many file systems; `again`: it said that it
 * is thawed, after its thaw had failed (a hook of the guest did); null: not known.
 */
export type Thawed = { readonly status: string | null; readonly thawed: number | 'again' | null }

export const isThawed = ({ thawed }: Thawed): boolean => thawed !== null

/**
 * Thaws in the talk in which the freeze was asked for, so that the order comes after it even where the guest has yet to get to
 * it. If that fails it goes on in the background.
 */
export async function thaw(machine: Machine, live: LiveMachine, talk: GuestTalk): Promise<Thawed> {
  const thawed = await thawBy(talk)
  talk.end()
  if (isThawed(thawed)) {
    const saved = await machine.save({ frozenBy: null }).then(
      () => true,
      (error: unknown) => machine.log.error({ err: error }, 'that the guest is thawed could not be written'),
    )
    if (saved === true) return thawed
  } else machine.log.error('the guest did not thaw; trying again')
  thawForSure(machine, live)
  return thawed
}

async function thawBy(talk: GuestTalk): Promise<Thawed> {
  const [status, thawed] = await Promise.allSettled([
    talk.ask('guest-fsfreeze-status', {}, thawMs),
    talk.ask('guest-fsfreeze-thaw', {}, thawMs),
  ])
  const before = status.status === 'fulfilled' ? String(status.value) : null
  if (thawed.status === 'fulfilled') return { status: before, thawed: Number(thawed.value) || 0 }
  if (!(thawed.reason instanceof QmpRefused)) return { status: before, thawed: null }
  const after = await talk.ask('guest-fsfreeze-status', {}, thawMs).catch(() => null)
  return { status: before, thawed: after === 'thawed' ? 'again' : null }
}

/** Thaws in the background until the guest says that it is thawed, or the process is gone. Until then the machine shows as held. */
export function thawForSure(machine: Machine, live: LiveMachine): void {
  if (machine.thawing === live) return
  machine.thawing = live
  const tryOnce = async (): Promise<boolean> => {
    const talk = await GuestTalk.begin(live.directory, thawMs)
    try {
      return isThawed(await thawBy(talk))
    } finally {
      talk.end()
    }
  }
  const untilDone = async (): Promise<void> => {
    let isTold = false
    while (machine.live === live) {
      const isDone = await tryOnce().catch(() => false)
      if (isDone && (await forget(machine, live))) return machine.log.info('the guest is thawed')
      if (!isDone && !isTold) machine.log.error('the guest still does not thaw')
      isTold = true
      await pause(thawAgainMs, undefined, { ref: false })
    }
  }
  void untilDone().finally(() => {
    if (machine.thawing === live) machine.thawing = null
  })
}

async function forget(machine: Machine, live: LiveMachine): Promise<boolean> {
  try {
    await machine.serial.run(async () => {
      if (machine.live === live) await machine.save({ frozenBy: null })
    })
    return true
  } catch (error) {
    machine.log.error({ err: error }, 'that the guest is thawed could not be written')
    return false
  }
}
