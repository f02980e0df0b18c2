/**
 * Runs cases one after another on one installation and one guest: something is killed at a point of a real operation under write
 * load, all is started again, and then the operation, both disks, the guest's own lines and the invariants are judged.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { asId, type ImageId, type LayerId, type OperationId } from '../../../src/domain/ids.ts'
import { isAtRest } from '../at-rest.ts'
import { Breakable, eventually, patienceMs } from './breakable.ts'
import type { Case, Story } from './cases.ts'
import { type BothKept, readLines, WritingGuest } from './guest.ts'
import { breaches, headsOf } from './invariants.ts'

type Ended = {
  readonly id: OperationId
  readonly state: string
  readonly params: { readonly disks: readonly { readonly head: LayerId; readonly next: LayerId; readonly volume: string }[] }
  readonly result: { readonly proved?: boolean; readonly consistency?: string } | null
  readonly problem: { readonly code: string } | null
}

type Before = {
  readonly acknowledged: number
  readonly tag: number
  readonly qemu: number | null
}

export type Outcome = { readonly passed: boolean; readonly ended: 'done' | 'undone'; readonly seconds: number }

export class Campaign {
  readonly on: Breakable
  readonly guest: WritingGuest
  /** The snapshot that rollbacks go to, and what it holds. */
  readonly target: ImageId
  readonly held: BothKept

  private constructor(on: Breakable, guest: WritingGuest, target: ImageId, held: BothKept) {
    this.on = on
    this.guest = guest
    this.target = target
    this.held = held
  }

  static async begin(environment: Readonly<Record<string, string>> = {}): Promise<Campaign> {
    const on = await Breakable.start(environment)
    const guest = await WritingGuest.create(on)
    await guest.write(10)
    const target = asId<ImageId>(await (await on.client()).snapshotServer(guest.instance, 'target'))
    return new Campaign(on, guest, target, await readPoints(on, target))
  }

  /** Throws when anything is not as it must be. */
  async run(one: Case): Promise<Outcome> {
    const since = performance.now()
    await this.on.up() // whatever a case that failed has left dead
    await this.#forgetRestarts()
    await this.guest.mark()
    await this.guest.write()
    const before = await this.#look()
    for (const { point, what } of one.provoke) await this.on.arm(point, what)
    await this.on.arm(one.point, `pause@${one.pass}`)
    const operation = this.#start(one.story)
    const passed = await this.#isThere(one, operation)
    if (passed) await this.on.kill(one.victim, this.guest.instance)
    await this.on.disarm()
    await this.on.up()
    const ended = await this.#rest(await operation)
    await this.#judge(one.story, before, ended)
    return { passed, ended: ended.state === 'done' ? 'done' : 'undone', seconds: (performance.now() - since) / 1000 }
  }

  /** Without a kill: tells how it ended, and judges after `settle`. The guest was marked; with `settle` it may be unable to say anything. */
  async attempt(story: Story, settle = async (): Promise<void> => undefined): Promise<{ ended: string; why: string | null }> {
    const before = await this.#look()
    const ended = await this.#rest(await this.#start(story))
    await settle()
    await this.#judge(story, before, ended)
    return { ended: ended.state, why: ended.problem?.code ?? null }
  }

  /** Waits until nothing is left to collect or to merge: from here on only the guest and what is asked for use the pool. */
  async rests(): Promise<void> {
    await eventually('a pool at rest', () => isAtRest(this.on.sql))
  }

  async #look(): Promise<Before> {
    const [acknowledged, qemu] = await Promise.all([this.guest.acknowledged(), this.on.pidOf('guest', this.guest.instance)])
    return { acknowledged, tag: this.guest.tag, qemu }
  }

  /** The machines that a campaign kills are more than an owner should put up with. */
  async #forgetRestarts(): Promise<void> {
    await this.on.query(`update operations set created_at = created_at - interval '1 hour' where kind = 'start-instance'`)
  }

  /** Asks for the operation; that the answer is lost with the controller is part of the game. */
  async #start(story: Story): Promise<OperationId> {
    const key = randomUUID()
    const client = await this.on.client()
    const asked =
      story === 'rollback'
        ? { path: 'rollbacks', body: { to: { instance_snapshot: this.target }, stop: 'hard', stop_seconds: 0 } }
        : {
            path: 'snapshots',
            body: { name: 'taken', consistency: story === 'snapshot' ? ('crash' as const) : ('filesystem' as const) },
          }
    const path = `/v1/instances/${this.guest.instance}/${asked.path}`
    const answer = client.post(path, asked.body, { headers: { 'idempotency-key': key } }).then(
      () => null,
      (error: unknown) => error,
    )
    return await eventually('the operation', async () => {
      const [row] = await this.on.query<{ id: OperationId }>('select id from operations where idempotency_key = $1', [key])
      if (row) return row.id
      const failure = await Promise.race([answer, pause(10, 'none yet')])
      if (failure instanceof Error && / was answered 4\d\d/.test(failure.message)) throw failure
      return null
    })
  }

  /** Waits until the point is reached; false when the operation ends without. */
  async #isThere(one: Case, operation: Promise<OperationId>): Promise<boolean> {
    void operation.catch(() => undefined)
    return (
      (await eventually(`${one.point} to be reached`, async () => {
        if (await this.on.isReached(one.point)) return 'reached'
        const id = await Promise.race([operation, pause(5, null)])
        if (id === null) return null
        const [row] = await this.on.query<{ ended: boolean }>(
          'select ended_at is not null as ended from operations where id = $1',
          [id],
        )
        return row?.ended && !(await this.on.isReached(one.point)) ? 'ended' : null
      })) === 'reached'
    )
  }

  async #rest(operation: OperationId): Promise<Ended> {
    return await eventually(`the end of operation ${operation}`, async () => {
      const [row] = await this.on.query<Ended & { ended: boolean }>(
        'select id, state, params, result, problem, ended_at is not null as ended from operations where id = $1',
        [operation],
      )
      return row?.ended ? row : null
    })
  }

  async #judge(story: Story, before: Before, ended: Ended): Promise<void> {
    const { on, guest } = this
    const { disks } = ended.params
    const isDone = ended.state === 'done'
    expectThat(isDone || ended.state === 'undone', `the operation is ${ended.state}`)
    const heads = (await headsOf(on, guest.instance)).map(({ head }) => head)
    const wantedHeads = await this.#afterMerges(
      ended,
      disks.map(({ head, next }) => (isDone ? next : head)),
    )
    expectThat(heads.join() === wantedHeads.join(), `${ended.state}, but the heads are ${heads}, not ${wantedHeads}`)

    await eventually('one running machine', async () => (await on.pidOf('guest', guest.instance)) !== null)
    const isSame = (await on.pidOf('guest', guest.instance)) === before.qemu
    await guest.isUp(!isSame)
    const acknowledged = await guest.acknowledged()
    const isBack = story === 'rollback' && isDone
    if (isSame) await guest.acknowledgesMore(2) // it is not frozen, paused or held
    const kept = await guest.verify()
    if (isBack)
      expectThat(
        JSON.stringify(kept) === JSON.stringify(this.held),
        `the guest has ${say(kept)}, the snapshot ${say(this.held)}`,
      )
    else expectKept('the guest', kept, { least: acknowledged, tag: before.tag, isWriting: isSame })

    const points = await this.#pointsOf(ended.id)
    const wanted = isDone && (story === 'rollback' || ended.result?.proved !== false) ? 2 : 0
    const usable = points.filter(({ state }) => state === 'available')
    expectThat(usable.length === wanted, `${usable.length} of ${wanted} snapshots are available: ${JSON.stringify(points)}`)
    if (wanted === 2) {
      const [root, data] = await Promise.all(usable.map(({ layer }) => readLines(on, layer)))
      // Whatever was acknowledged before the disks were turned is in it: for a rollback, all.
      const least = story === 'rollback' ? acknowledged : before.acknowledged
      if (root && data) expectKept('the snapshot', [root, data], { least, most: acknowledged + 1, tag: before.tag })
    }
    await this.#clear(ended.id)
    let last: string[] = []
    await eventually(
      'a state in which all invariants hold',
      async () => {
        last = await breaches(on, guest.instance)
        return last.length === 0
      },
      patienceMs / 2,
    ).catch(() => {
      throw new Error(last.join('\n'))
    })
  }

  /** Where heads are after merges in the background have moved them. */
  async #afterMerges({ id }: Ended, heads: readonly LayerId[]): Promise<LayerId[]> {
    const moved = await this.on.query<{ from: LayerId; to: LayerId }>(
      `select m.params->'rows'->'movedHead'->>'from' as "from", m.params->'rows'->'movedHead'->>'to' as "to"
       from operations m join operation_steps s on s.operation_id = m.id and s.step = 'moveRows' and s.state = 'done'
       where m.kind = 'merge-layers' and s.ended_at > (select ended_at from operations where id = $1) order by s.ended_at`,
      [id],
    )
    return heads.map((head) => moved.reduce((now, { from, to }) => (now === from ? to : now), head))
  }

  #pointsOf(operation: OperationId): Promise<{ id: string; state: string; layer: LayerId; image: string | null }[]> {
    return this.on.query(
      `select s.id, s.state, p.layer_id as layer, s.image_id as image from volume_snapshots s left join points p on p.id = s.point_id
       where s.operation_id = $1 and s.deleted_at is null order by s.device`,
      [operation],
    )
  }

  /** Deletes what the operation left, so that layers are collected and merged while the next cases run. */
  async #clear(operation: OperationId): Promise<void> {
    const client = await this.on.client()
    const points = await this.#pointsOf(operation)
    const images = new Set(points.flatMap(({ image }) => image ?? []))
    for (const image of images) await client.remove(`/image/v2/images/${image}`)
    for (const { id, image } of points) if (image === null) await client.remove(client.volumePath(`/snapshots/${id}`))
  }

  end = (): Promise<void> => this.on.end()
}

async function readPoints(on: Breakable, image: ImageId): Promise<BothKept> {
  const points = await on.query<{ layer: LayerId }>(
    `select p.layer_id as layer from volume_snapshots s join points p on p.id = s.point_id where s.image_id = $1 order by s.device`,
    [image],
  )
  const [root, data] = await Promise.all(points.map(({ layer }) => readLines(on, layer)))
  if (!root || !data) throw new Error('the target has not two disks')
  return [root, data]
}

function expectThat(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise)
}

const say = (kept: BothKept): string => JSON.stringify(kept)

type Wanted = { readonly least: number; readonly most?: number; readonly tag: number; readonly isWriting?: boolean }

/**
 * No gap, no bad line, all that was acknowledged, and both disks at one moment: the data disk is at most a line behind. A guest
 * that goes on writing while it reads one disk after the other shows two moments.
 */
function expectKept(who: string, kept: BothKept, { least, most, tag, isWriting = false }: Wanted): void {
  const [root, data] = kept
  const isWhole = kept.every((disk) => !disk.gap && disk.bad === 0 && disk.last >= least && disk.last <= (most ?? disk.last))
  const isOneMoment = isWriting || root.last - data.last === 0 || root.last - data.last === 1
  expectThat(
    isWhole && isOneMoment && root.tag === tag,
    `${who} has ${say(kept)}; acknowledged were ${least} to ${most} with tag ${tag}`,
  )
}
