/** A guest with two disks that writes numbered, checksummed lines on both, and how to ask it and its disks what they kept. */
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { asId, type InstanceId, type LayerId } from '../../../src/domain/ids.ts'
import { type Breakable, eventually } from './breakable.ts'

const run = promisify(execFile)

/** What one disk's file of lines says. */
export type Kept = { readonly last: number; readonly tag: number; readonly gap: boolean; readonly bad: number }
/** Root disk, then data disk. */
export type BothKept = readonly [Kept, Kept]

export class WritingGuest {
  readonly installation: Breakable
  readonly instance: InstanceId
  #tag = 0
  #writing = false
  #marks = 0
  #mark = ''

  private constructor(installation: Breakable, instance: InstanceId) {
    this.installation = installation
    this.instance = instance
  }

  static async create(installation: Breakable): Promise<WritingGuest> {
    const client = await installation.client()
    const server = await client.createServer({ ...(await installation.product.guestImage()), dataDisks: 1 })
    const guest = new WritingGuest(installation, asId<InstanceId>(server))
    await guest.isUp()
    return guest
  }

  get tag(): number {
    return this.#tag
  }

  shell = (line: string, seconds?: number): Promise<string> => this.installation.product.shell(this.instance).run(line, seconds)

  console = (): Promise<string> => this.installation.product.console(this.instance)

  /** What it has printed since the last mark. */
  async said(): Promise<string> {
    const text = await this.console()
    return this.#mark === '' ? text : text.slice(text.lastIndexOf(this.#mark) + this.#mark.length)
  }

  /** From here on `said` counts. */
  async mark(): Promise<void> {
    const mark = `MARK-${++this.#marks}-${Date.now()}`
    await this.shell(`echo ${mark} >/dev/console`)
    await eventually('the mark on the console', async () => (await this.console()).includes(mark))
    this.#mark = mark
  }

  /** Waits until it has booted, if it was started anew since the mark, and answers. */
  async isUp(bootedAnew = true): Promise<void> {
    if (bootedAnew) {
      await eventually('a booted guest', async () => (await this.said()).includes('GUEST-READY'))
      this.#writing = false
    }
    await this.shell('true')
  }

  /** Has it write lines with a tag of their own, unless it writes; resolves when some are acknowledged. */
  async write(lines = 5): Promise<void> {
    if (!this.#writing) {
      await this.shell(`writer start ${++this.#tag}`)
      this.#writing = true
    }
    await this.acknowledgesMore(lines)
  }

  async stopWriting(): Promise<void> {
    if (this.#writing) await this.shell('writer stop')
    this.#writing = false
  }

  /** Number of the last line that it said is on both disks. */
  async acknowledged(): Promise<number> {
    return Number([...(await this.said()).matchAll(/^ACK (\d+)\r?$/gm)].at(-1)?.[1] ?? 0)
  }

  async acknowledgesMore(lines: number): Promise<number> {
    const before = await this.acknowledged()
    return await eventually(`${lines} more acknowledged lines`, async () => {
      const now = await this.acknowledged()
      return now >= before + lines ? now : null
    })
  }

  async verify(): Promise<BothKept> {
    const text = await this.shell('writer verify')
    const [root, data] = ['/writer.log', '/data/writer.log'].map((file) => kept(text, file))
    if (!root || !data) throw new Error(`the guest does not have both disks: ${text}`)
    return [root, data]
  }
}

function kept(text: string, file: string): Kept | null {
  const found = new RegExp(`^${file} last=(\\d+) tag=(\\S+) lines=\\d+ gap=(\\S+) bad=(\\d+)`, 'm').exec(text)
  if (!found) return null
  return { last: Number(found[1]), tag: Number(found[2]), gap: found[3] !== 'none', bad: Number(found[4]) }
}

/** What the lines in a layer, or at the end of a frozen one, say: read without the guest, after the journal was replayed on a copy. */
export async function readLines(installation: Breakable, layer: LayerId): Promise<Kept> {
  const folder = await mkdtemp(join(tmpdir(), 'comeback-read-'))
  const raw = join(folder, 'raw')
  try {
    const source = join(installation.pool, 'layers', `${layer}.qcow2`)
    await run('qemu-img', ['convert', '-U', '-f', 'qcow2', '-O', 'raw', source, raw], { timeout: 120_000 })
    // 1: errors were corrected, which the replay of the journal counts as.
    await run('e2fsck', ['-fy', raw], { timeout: 120_000 }).catch((error: { code?: unknown; stdout?: string }) => {
      if (error.code !== 1) throw new Error(`the file system in layer ${layer} is damaged: ${error.stdout}`)
    })
    const { stdout } = await run('debugfs', ['-R', 'cat /writer.log', raw], { timeout: 60_000, maxBuffer: 2 ** 28 })
    return checked(stdout)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** The same as the guest's `writer verify`. A last line without its end is no bad one: it was not acknowledged. */
function checked(text: string): Kept {
  const lines = text.split('\n')
  const torn = lines.pop() !== ''
  let [last, tag, gap, bad] = [0, 0, false, 0]
  for (const [at, line] of lines.entries()) {
    const found = /^(\d+) (\d+) (\d+)$/.exec(line)
    const [number, by, sum] = (found ?? []).slice(1).map(Number)
    if (number === undefined || by === undefined || sum !== (number * 48271 + by * 16807) % 2147483647) {
      if (at < lines.length - 1 || torn) bad++
      continue
    }
    if (number !== last + 1) gap = true
    ;[last, tag] = [number, by]
  }
  return { last, tag, gap, bad }
}
