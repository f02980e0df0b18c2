/**
 * Backups through the API beside `restic` and `qemu-img convert`, on the same content in one run, in turns. All end durable; the page
 * cache is emptied before each. A volume of 8 GiB with 1 GiB written (half random, a quarter zeros, a quarter one repeated MiB), then
 * 51 MiB of scattered random 64 KiB writes a round; the same round on 64 GiB.
 */
import { execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Client } from 'pg'
import { z } from 'zod'
import { NbdClient } from '../src/agent/nbd/client.ts'
import { GiB } from '../src/domain/volume.ts'
import type { Installation } from '../test/support/installation.ts'
import type { OpenStack } from '../test/support/openstack.ts'
import { type Spread, spread, timed } from './statistics.ts'

const run = promisify(execFile)
const MiB = 1024 ** 2
const block = 64 * 1024
const written = GiB
/** 51 MiB. */
const changedBlocks = 816

export type Side = { readonly seconds: Spread; readonly storedBytes: Spread }
export type VaultFigures = {
  readonly first: { readonly ours: Side; readonly restic: Side; readonly convert: Side }
  readonly increment: { readonly ours: Side; readonly restic: Side; readonly ours64: Side }
  readonly restore: { readonly ours: Spread; readonly oursAfter30: Spread; readonly restic: Spread; readonly convert: Spread }
  /** Of an idle volume: by the server's clock, from request to end. */
  readonly snapshot: Spread
  /** Seconds of a first backup alone, and while another volume is swept. */
  readonly beside: { readonly alone: Spread; readonly swept: Spread }
  /** Most resident memory of the process that moves the data, MiB. */
  readonly moverMib: number
}

const operation = z.object({
  state: z.string(),
  created_at: z.coerce.date(),
  ended_at: z.coerce.date(),
  problem: z.unknown(),
})
const backupView = z.object({ stored_bytes: z.number(), read_bytes: z.number() })

export async function benchVault(box: Installation, cloud: OpenStack, runs: number, say: (line: string) => void) {
  const folder = await mkdtemp(join(tmpdir(), 'comeback-vault-bench-'))
  try {
    return await new VaultBench(box, cloud, folder, say).all(runs)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

class VaultBench {
  readonly #box: Installation
  readonly #cloud: OpenStack
  readonly #folder: string
  readonly #say: (line: string) => void
  readonly #resticEnv: NodeJS.ProcessEnv
  #moverMib = 0

  constructor(box: Installation, cloud: OpenStack, folder: string, say: (line: string) => void) {
    this.#box = box
    this.#cloud = cloud
    this.#folder = folder
    this.#say = say
    this.#resticEnv = {
      ...process.env,
      RESTIC_PASSWORD: 'bench',
      RESTIC_REPOSITORY: join(folder, 'restic'),
      RESTIC_CACHE_DIR: join(folder, 'restic-cache'),
    }
  }

  async all(runs: number): Promise<VaultFigures> {
    await mkdir(join(this.#folder, 'vault'))
    await this.#cloud.post('/v1/vaults', { name: 'bench', directory: join(this.#folder, 'vault') })
    const content = join(this.#folder, 'content.raw')
    await writeContent(content)
    const image = await this.#upload(content)
    await this.#restic('init', '-q')
    const watching = new AbortController()
    const memory = this.#watchMovers(watching.signal)

    const first = { ours: sides(), restic: sides(), convert: sides() }
    const increment = { ours: sides(), restic: sides(), ours64: sides() }
    const restore = { ours: [] as number[], oursAfter30: [] as number[], restic: [] as number[], convert: [] as number[] }
    const volume = await this.#volume(image, 8)
    const large = await this.#volume(image, 64)
    const theirs = join(this.#folder, 'theirs.qcow2')
    await run('qemu-img', ['convert', '-O', 'qcow2', content, theirs], { timeout: 600_000 })
    await rm(content)

    for (let at = 0; at < runs; at += 1) {
      const fresh = at === 0 ? volume : await this.#volume(image, 8)
      first.ours.add(await this.#backUp(fresh, 'full'))
      await rm(join(this.#folder, 'restic'), { recursive: true })
      await rm(join(this.#folder, 'restic-cache'), { recursive: true, force: true })
      await this.#restic('init', '-q')
      first.restic.add(await this.#resticBackup(theirs))
      first.convert.add(await this.#convert(theirs, at))
      this.#say(`vault: first backup ${at + 1} of ${runs}: ${first.ours.last()} s, restic ${first.restic.last()} s`)
    }
    await this.#backUp(large, 'full')

    let latest = ''
    for (let at = 0; at < Math.max(runs, 30); at += 1) {
      const places = scattered()
      await this.#scatter(() => this.#headOf(volume), places)
      const step = await this.#backUp(volume, 'auto')
      latest = step.id
      if (at >= runs) continue
      increment.ours.add(step)
      await this.#scatter(() => this.#headOf(large), places)
      increment.ours64.add(await this.#backUp(large, 'auto'))
      await this.#scatter(async () => theirs, places)
      increment.restic.add(await this.#resticBackup(theirs))
      this.#say(`vault: increment ${at + 1}: ${increment.ours.last()} s, restic ${increment.restic.last()} s`)
    }
    const early = (await this.#backUp(await this.#volume(image, 8), 'full')).id
    for (let at = 0; at < runs; at += 1) {
      restore.ours.push(await this.#restore(early))
      restore.oursAfter30.push(await this.#restore(latest))
      restore.restic.push(await this.#resticRestore())
      restore.convert.push(await this.#convertBack())
      this.#say(`vault: restore ${at + 1}: ${restore.ours.at(-1)} s, restic ${restore.restic.at(-1)} s`)
    }
    const idle: number[] = []
    for (let at = 0; at < runs; at += 1) idle.push(await this.#snapshot(volume))
    const beside = await this.#besideSweep(image, Math.min(runs, 5))
    watching.abort()
    await memory
    return {
      first: { ours: first.ours.figures(), restic: first.restic.figures(), convert: first.convert.figures() },
      increment: {
        ours: increment.ours.figures(),
        restic: increment.restic.figures(),
        ours64: increment.ours64.figures(),
      },
      restore: {
        ours: spread(restore.ours),
        oursAfter30: spread(restore.oursAfter30),
        restic: spread(restore.restic),
        convert: spread(restore.convert),
      },
      snapshot: spread(idle),
      beside,
      moverMib: this.#moverMib,
    }
  }

  async #upload(content: string): Promise<string> {
    const packed = `${content}.qcow2`
    await run('qemu-img', ['convert', '-O', 'qcow2', content, packed], { timeout: 600_000 })
    const image = await this.#box.uploadImage('content', packed, 'qcow2')
    await rm(packed)
    return image
  }

  async #volume(image: string, sizeGib: number): Promise<string> {
    const { volume } = await this.#cloud.post<{ volume: { id: string } }>(this.#cloud.volumePath('/volumes'), {
      volume: { size: sizeGib, imageRef: image },
    })
    await this.#cloud.volumeIs(volume.id, 'available')
    return volume.id
  }

  async #headOf(volume: string): Promise<string> {
    const client = new Client({ connectionString: this.#box.databaseUrl })
    await client.connect()
    try {
      const { rows } = await client.query<{ head: string }>('select head_layer_id as head from volumes where id = $1', [volume])
      return join(this.#box.state, 'pool', 'layers', `${rows[0]?.head}.qcow2`)
    } finally {
      await client.end()
    }
  }

  /** Random data at these places of a disk that no machine has open. A merge in the background may have it, or be about to replace it. */
  async #scatter(find: () => Promise<string>, places: readonly number[]): Promise<void> {
    for (const until = performance.now() + 120_000; ; await pause(200)) {
      if (await this.#scatterInto(await find(), places)) return
      if (performance.now() > until) throw new Error('the disk is never free to be written')
    }
  }

  async #scatterInto(file: string, places: readonly number[]): Promise<boolean> {
    const socket = join(this.#folder, 'nbd')
    await rm(socket, { force: true })
    const server = spawn('qemu-nbd', ['-f', 'qcow2', '-k', socket, '-x', 'disk', '-t', file], { stdio: 'ignore' })
    const gone = once(server, 'exit').then(() => null)
    try {
      const client = await Promise.race([connected(socket), gone])
      if (client === null) return false
      for (const place of places) await client.write(place, randomBytes(block))
      await client.flush()
      await client.close()
      return true
    } finally {
      server.kill('SIGTERM')
      await gone
    }
  }

  async #backUp(volume: string, read: 'auto' | 'full') {
    await emptyCache()
    const started = await this.#cloud.post<{ operation: { id: string }; backup: string }>('/v1/backups', { volume, read })
    const seconds = await this.#ended(started.operation.id)
    const { stored_bytes: stored } = backupView.parse(await this.#cloud.get(`/v1/backups/${started.backup}`))
    return { id: started.backup, seconds, stored }
  }

  /** By the server's clock. */
  async #ended(id: string): Promise<number> {
    const seen = operation.parse(await this.#cloud.operationEnds(id))
    if (seen.state !== 'done') throw new Error(`operation ${id} is ${seen.state}: ${JSON.stringify(seen.problem)}`)
    return (seen.ended_at.getTime() - seen.created_at.getTime()) / 1000
  }

  async #restore(backup: string): Promise<number> {
    await emptyCache()
    const made = await this.#cloud.post<{ operation: { id: string }; volume: string }>('/v1/volumes', { source: { backup } })
    const seconds = await this.#ended(made.operation.id)
    await this.#cloud.remove(this.#cloud.volumePath(`/volumes/${made.volume}`))
    return seconds
  }

  async #snapshot(volume: string): Promise<number> {
    const made = await this.#cloud.post<{ operation: { id: string } }>('/v1/volume-snapshots', { volume })
    return await this.#ended(made.operation.id)
  }

  /** First backups of fresh volumes, alone and beside a sweep that never ends. */
  async #besideSweep(image: string, runs: number): Promise<VaultFigures['beside']> {
    const alone: number[] = []
    const swept: number[] = []
    for (let at = 0; at < runs; at += 1) {
      alone.push((await this.#backUp(await this.#volume(image, 8), 'full')).seconds)
      const old = await this.#volume(image, 8)
      const made = await this.#backUp(old, 'full')
      const { name } = await this.#cloud.get<{ name: string }>(`/v1/backups/${made.id}`)
      await this.#cloud.remove(`/v1/backups/${made.id}?confirm=${encodeURIComponent(name)}`)
      swept.push((await this.#backUp(await this.#volume(image, 8), 'full')).seconds)
    }
    return { alone: spread(alone), swept: spread(swept) }
  }

  #restic = (...args: string[]) => run('restic', args, { env: this.#resticEnv, timeout: 900_000 })

  async #resticBackup(file: string) {
    const before = await sizeOf(join(this.#folder, 'restic'))
    await emptyCache()
    const seconds = await timed(async () => {
      await this.#restic('backup', '-q', file)
      await synced(this.#folder)
    })
    return { seconds, stored: (await sizeOf(join(this.#folder, 'restic'))) - before }
  }

  async #resticRestore(): Promise<number> {
    const target = join(this.#folder, 'restic-out')
    await emptyCache()
    const seconds = await timed(async () => {
      await this.#restic('restore', '-q', 'latest', '--target', target)
      await synced(this.#folder)
    })
    await rm(target, { recursive: true })
    return seconds
  }

  async #convert(file: string, at: number) {
    const target = join(this.#folder, `convert-${at}.qcow2`)
    await emptyCache()
    const how = ['-c', '-W', '-m', '8', '-o', 'compression_type=zstd']
    const seconds = await timed(async () => {
      await run('qemu-img', ['convert', ...how, '-O', 'qcow2', file, target], { timeout: 900_000 })
      await synced(this.#folder)
    })
    const stored = (await stat(target)).blocks * 512
    if (at > 0) await rm(target)
    return { seconds, stored }
  }

  async #convertBack(): Promise<number> {
    const target = join(this.#folder, 'back.qcow2')
    await emptyCache()
    const seconds = await timed(async () => {
      await run('qemu-img', ['convert', '-W', '-O', 'qcow2', join(this.#folder, 'convert-0.qcow2'), target], {
        timeout: 900_000,
      })
      await synced(this.#folder)
    })
    await rm(target)
    return seconds
  }

  /** Peak memory of whatever moves data for this installation's agent. */
  async #watchMovers(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      for (const pid of await readdir('/proc')) {
        if (!/^\d+$/.test(pid)) continue
        const argv = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
        if (!/agent\/mover\/[\w-]+\.ts/.test(argv)) continue
        const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
        const peak = Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024
        this.#moverMib = Math.max(this.#moverMib, Math.round(peak))
      }
      await pause(50, undefined, { signal }).catch(() => undefined)
    }
  }
}

function sides() {
  const seconds: number[] = []
  const stored: number[] = []
  return {
    add: (one: { readonly seconds: number; readonly stored: number }): void => {
      seconds.push(one.seconds)
      stored.push(one.stored)
    },
    last: () => seconds.at(-1)?.toFixed(2),
    figures: (): Side => ({ seconds: spread(seconds), storedBytes: spread(stored) }),
  }
}

/** Places within what is written, each once. */
function scattered(): number[] {
  const places = new Set<number>()
  while (places.size < changedBlocks) places.add(Math.floor(Math.random() * ((8 * GiB) / block)) * block)
  return [...places]
}

/** Half random, a quarter zeros that are written, a quarter one repeated MiB; spread over 8 GiB, MiB by MiB. */
async function writeContent(file: string): Promise<void> {
  await using handle = await open(file, 'w')
  await handle.truncate(8 * GiB)
  const repeated = randomBytes(MiB)
  const zeros = Buffer.alloc(MiB)
  for (let at = 0; at < written / MiB; at += 1) {
    const data = at % 4 < 2 ? randomBytes(MiB) : at % 4 === 2 ? zeros : repeated
    await handle.write(data, 0, MiB, at * 8 * MiB)
  }
  await handle.sync()
}

async function emptyCache(): Promise<void> {
  await run('sync', [], { timeout: 120_000 })
  await writeFile('/proc/sys/vm/drop_caches', '3')
}

const synced = (place: string) => run('sync', ['-f', place], { timeout: 300_000 })

async function sizeOf(folder: string): Promise<number> {
  const { stdout } = await run('du', ['-s', '-B1', folder], { timeout: 60_000 })
  return Number(stdout.split('\t')[0])
}

async function connected(socket: string): Promise<NbdClient | null> {
  for (const until = performance.now() + 30_000; performance.now() < until; await pause(5)) {
    const client = await NbdClient.connect(socket, { export: 'disk' }).catch(() => null)
    if (client !== null) return client
  }
  return null
}
