/**
 * Whole rollbacks of running guests through the API, hard stop, guest synced: how long the guest is off, how long it all takes, and
 * when the guest answers again; beside bare tools doing the least that must be done, in turns.
 */
import { z } from 'zod'
import type { Installation } from '../test/support/installation.ts'
import type { OpenStack } from '../test/support/openstack.ts'
import { BareMachine } from './bare.ts'
import { type Spread, spread, timed } from './statistics.ts'

export type RollbackFigures = {
  readonly disks: number
  readonly depth: number
  readonly off: Spread
  readonly whole: Spread
  readonly request: Spread
  readonly bareOff: Spread
  readonly bareWhole: Spread
  /** Seconds that each step took, medians. */
  readonly steps: Readonly<Record<string, number>>
}
export type FeltFigures = { readonly hardToAnswer: Spread; readonly gracefulToAnswer: Spread; readonly gracefulOff: Spread }

type Guest = { readonly id: string; readonly snapshot: string }

const view = z.object({
  created_at: z.coerce.date(),
  ended_at: z.coerce.date(),
  steps: z.array(z.object({ name: z.string(), started_at: z.coerce.date(), ended_at: z.coerce.date() })),
})

export async function makeGuest(box: Installation, cloud: OpenStack, disks: number, depth: number): Promise<Guest> {
  const { image, flavor } = await box.guestImage()
  const id = await cloud.createServer({ image, flavor, dataDisks: disks - 1 })
  await box.shell(id).run('echo content >/content; sync')
  let snapshot = ''
  // The image's layer lies below the first snapshot's.
  for (let at = 2; at <= Math.max(2, depth); at += 1) snapshot = await cloud.snapshotServer(id, `at ${at}`)
  return { id, snapshot }
}

export async function benchRollback(
  box: Installation,
  cloud: OpenStack,
  disks: number,
  depth: number,
  runs: number,
): Promise<RollbackFigures> {
  const guest = await makeGuest(box, cloud, disks, depth)
  const bare = await BareMachine.start(disks, depth)
  const ours: { off: number; whole: number; request: number; steps: Record<string, number> }[] = []
  const theirs: { off: number; whole: number }[] = []
  try {
    for (let at = 0; at < runs; at += 1) {
      await box.shell(guest.id).run('echo more >>/content; sync')
      ours.push(await once(cloud, guest, { skip_safety_snapshot: false }))
      theirs.push(await bare.rollBack())
    }
  } finally {
    await bare.end()
  }
  await cloud.remove(`/compute/v2.1/servers/${guest.id}`)
  const steps = Object.keys(ours[0]?.steps ?? {})
  return {
    disks,
    depth,
    off: spread(ours.map(({ off }) => off)),
    whole: spread(ours.map(({ whole }) => whole)),
    request: spread(ours.map(({ request }) => request)),
    bareOff: spread(theirs.map(({ off }) => off)),
    bareWhole: spread(theirs.map(({ whole }) => whole)),
    steps: Object.fromEntries(steps.map((step) => [step, spread(ours.map((one) => one.steps[step] ?? Number.NaN)).median])),
  }
}

async function once(cloud: OpenStack, { id, snapshot }: Guest, more: Record<string, unknown>) {
  const since = performance.now()
  const { operation_id } = await cloud.rollBack(id, snapshot, more)
  const request = (performance.now() - since) / 1000
  const { created_at, ended_at, steps } = view.parse(await cloud.get(`/v1/operations/${operation_id}`))
  const find = (name: string) => {
    const step = steps.find((one) => one.name === name)
    if (!step) throw new Error(`the operation has no step ${name}`)
    return step
  }
  const seconds = (from: Date, to: Date): number => (to.getTime() - from.getTime()) / 1000
  const each = Object.fromEntries(steps.map(({ name, started_at, ended_at: done }) => [name, seconds(started_at, done)]))
  return {
    request,
    steps: each,
    whole: seconds(created_at, ended_at),
    off: seconds(find('stopInstance').started_at, find('startInstance').ended_at),
  }
}

/** What users feel: from the request until the guest answers at its command channel. */
export async function benchFelt(box: Installation, cloud: OpenStack, runs: number): Promise<FeltFigures> {
  const guest = await makeGuest(box, cloud, 2, 2)
  const hard: number[] = []
  const graceful: number[] = []
  const off: number[] = []
  for (let at = 0; at < runs; at += 1) {
    await box.shell(guest.id).run('sync')
    hard.push(await timed(() => cloud.rollBack(guest.id, guest.snapshot).then(() => box.shell(guest.id).run('true'))))
    graceful.push(
      await timed(async () => {
        off.push((await once(cloud, guest, { stop_mode: 'graceful', stop_timeout: 60 })).off)
        await box.shell(guest.id).run('true')
      }),
    )
  }
  await cloud.remove(`/compute/v2.1/servers/${guest.id}`)
  return { hardToAnswer: spread(hard), gracefulToAnswer: spread(graceful), gracefulOff: spread(off) }
}
