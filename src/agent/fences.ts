/**
 * Keeps former owners of an operation away. Of each resource the highest epoch seen is remembered durably, before the call
 * that brought it acts; a call with a higher one first ends and awaits what lower ones have under way, so that no effect of
 * theirs comes after it.
 */
import { type FileHandle, mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { readIfThere, writeDurably } from '../adapters/storage/qcow2/durable.ts'
import { refuse } from '../domain/refusals.ts'
import { failpoint } from '../failpoints.ts'
import type { Fence } from './protocol.ts'
import { Serial } from './serial.ts'

type Running = { readonly epoch: number; readonly abort: AbortController; readonly over: Promise<unknown> }
type Guarded = { seen: number; readonly running: Set<Running>; readonly raising: Serial }

export class Fences {
  readonly #file: FileHandle
  readonly #resources = new Map<string, Guarded>()

  private constructor(file: FileHandle, seen: ReadonlyMap<string, number>) {
    this.#file = file
    for (const [resource, epoch] of seen) this.#guarded(resource).seen = epoch
  }

  /** One line a raise; rewritten shorter at every start. */
  static async open(path: string): Promise<Fences> {
    await mkdir(dirname(path), { recursive: true, mode: 0o711 })
    const seen = new Map<string, number>()
    for (const line of ((await readIfThere(path)) ?? '').split('\n')) {
      const [resource, epoch] = line.split(' ')
      // A line cut short by a power cut was not acted upon.
      if (resource && epoch && /^\d+;$/.test(epoch))
        seen.set(resource, Math.max(seen.get(resource) ?? 0, Number(epoch.slice(0, -1))))
    }
    await writeDurably(path, [...seen].map(([resource, epoch]) => lineOf(resource, epoch)).join(''), 0o600)
    return new Fences(await open(path, 'a', 0o600), seen)
  }

  /** Of all resources. */
  highest = (): number => Math.max(0, ...[...this.#resources.values()].map(({ seen }) => seen))

  close = (): Promise<void> => this.#file.close()

  /** Does the work if nobody newer has come; its signal is aborted when somebody does. */
  async admit<T>(fence: Fence, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const guarded = this.#guarded(fence.resource)
    if (fence.epoch > guarded.seen) await guarded.raising.run(() => this.#raise(fence, guarded))
    if (fence.epoch < guarded.seen)
      throw refuse.staleEpoch({ resource: fence.resource, given: fence.epoch, seen: guarded.seen })
    const abort = new AbortController()
    const result = work(abort.signal)
    const running = { epoch: fence.epoch, abort, over: result.catch(() => undefined) }
    guarded.running.add(running)
    try {
      return await result
    } finally {
      guarded.running.delete(running)
    }
  }

  async #raise({ resource, epoch }: Fence, guarded: Guarded): Promise<void> {
    if (epoch <= guarded.seen) return
    await failpoint('agent.epoch.before-write')
    await this.#file.appendFile(lineOf(resource, epoch))
    await this.#file.datasync()
    await failpoint('agent.epoch.after-write')
    const before = [...guarded.running]
    guarded.seen = epoch
    const why = refuse.staleEpoch({ resource, given: epoch - 1, seen: epoch })
    for (const { abort } of before) abort.abort(why)
    await Promise.all(before.map(({ over }) => over))
  }

  #guarded(resource: string): Guarded {
    const known = this.#resources.get(resource)
    if (known) return known
    const fresh = { seen: 0, running: new Set<Running>(), raising: new Serial() }
    this.#resources.set(resource, fresh)
    return fresh
  }
}

const lineOf = (resource: string, epoch: number): string => `${resource} ${epoch};\n`
