/** Instance snapshots of a running guest with ten disks: how long the guest stalls, idle and writing, beside a bare QMP transaction. */
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { z } from 'zod'
import { bootBareGuest, demoGuest, newDisk } from '../test/support/bare-guest.ts'
import type { Installation } from '../test/support/installation.ts'
import type { OpenStack } from '../test/support/openstack.ts'
import { type Spread, spread } from './statistics.ts'

export type SnapshotFigures = {
  /** Milliseconds. Of one moment, as a bare transaction is. */
  readonly idle: Spread
  readonly loaded: Spread
  readonly bareIdle: Spread
  readonly bareLoaded: Spread
  /** With the file systems frozen through the guest's agent, for which no bare counterpart is made. */
  readonly frozenIdle: Spread
  readonly frozenLoaded: Spread
}

const run = promisify(execFile)
const dataDisks = 9
const ended = z.object({ state: z.literal('done'), result: z.object({ stall_ms: z.number() }) })
type Consistency = 'crash' | 'filesystem'

/** Writes without pause to the root disk, synced twice a second; the same on both sides. */
const load = '(while :; do dd if=/dev/zero of=/load bs=64k count=64 conv=notrunc 2>/dev/null; sync; done) >/dev/null 2>&1 &'

export async function benchSnapshot(box: Installation, cloud: OpenStack, runs: number): Promise<SnapshotFigures> {
  const bare = await BareTen.boot()
  try {
    const beside = await series(box, cloud, 'crash', runs, bare)
    const frozen = await series(box, cloud, 'filesystem', runs, null)
    return {
      idle: spread(beside.idle),
      bareIdle: spread(beside.bareIdle),
      loaded: spread(beside.loaded),
      bareLoaded: spread(beside.bareLoaded),
      frozenIdle: spread(frozen.idle),
      frozenLoaded: spread(frozen.loaded),
    }
  } finally {
    await bare.end()
  }
}

/** Ours and the bare guest's in turns, on a guest of its own: snapshots are kept, so its chains grow by one a run, as the bare one's do. */
async function series(box: Installation, cloud: OpenStack, consistency: Consistency, runs: number, bare: BareTen | null) {
  const { image, flavor } = await box.guestImage()
  const id = await cloud.createServer({ image, flavor, dataDisks })
  const shell = box.shell(id)
  const sides = { idle: [] as number[], bareIdle: [] as number[], loaded: [] as number[], bareLoaded: [] as number[] }
  await shell.run('sync')
  for (let at = 0; at < runs; at += 1) {
    sides.idle.push(await stall(cloud, id, `idle ${at}`, consistency))
    if (bare) sides.bareIdle.push(await bare.snapshot())
  }
  await shell.run(load)
  await bare?.shell(load)
  for (let at = 0; at < runs; at += 1) {
    sides.loaded.push(await stall(cloud, id, `loaded ${at}`, consistency))
    if (bare) sides.bareLoaded.push(await bare.snapshot())
  }
  await cloud.remove(`/compute/v2.1/servers/${id}`)
  return sides
}

/** Milliseconds. */
async function stall(cloud: OpenStack, id: string, name: string, consistency: Consistency): Promise<number> {
  const { operation } = z
    .object({ operation: z.object({ id: z.string() }) })
    .parse(await cloud.post(`/v1/instances/${id}/snapshots`, { name, consistency }))
  return ended.parse(await cloud.operationEnds(operation.id)).result.stall_ms
}

class BareTen {
  readonly #folder: string
  readonly #guest: Awaited<ReturnType<typeof bootBareGuest>>
  #generation = 0

  private constructor(folder: string, guest: Awaited<ReturnType<typeof bootBareGuest>>) {
    this.#folder = folder
    this.#guest = guest
  }

  static async boot(): Promise<BareTen> {
    const folder = await mkdtemp(join(tmpdir(), 'comeback-ten-'))
    const root = await newDisk(join(folder, 'root.qcow2'), (await demoGuest()).disk)
    const names = Array.from({ length: dataDisks }, (_, at) => join(folder, `data-${at}.qcow2`))
    const disks = await Promise.all(names.map((file) => newDisk(file, undefined, 1024)))
    const guest = await bootBareGuest({ root, disks })
    await guest.says(/GUEST-READY/, 240)
    return new BareTen(folder, guest)
  }

  shell = (line: string) => this.#guest.shell(line)

  /** Milliseconds of one QMP transaction over all disks; the overlays are made before. */
  async snapshot(): Promise<number> {
    this.#generation += 1
    const actions = await Promise.all(
      Array.from({ length: dataDisks + 1 }, async (_, at) => {
        const file = join(this.#folder, `g${this.#generation}-${at}.qcow2`)
        await run('qemu-img', ['create', '-q', '-f', 'qcow2', file, '1G'], { timeout: 60_000 })
        return {
          type: 'blockdev-snapshot-sync',
          data: { device: `d${at}`, 'snapshot-file': file, mode: 'existing', format: 'qcow2' },
        }
      }),
    )
    const since = performance.now()
    await this.#guest.execute('transaction', { actions })
    return performance.now() - since
  }

  async end(): Promise<void> {
    await this.#guest.kill()
    await rm(this.#folder, { recursive: true, force: true })
  }
}
