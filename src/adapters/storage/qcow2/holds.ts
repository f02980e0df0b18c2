/**
 * Who keeps which layers locked. A hold is a lock daemon that has the layers open for writing, and a note in the runtime
 * directory that says so; a new agent finds the note, and proves by the process's start time that it means this one.
 *
 *   (nothing) -> taking -> held -> (nothing)
 *
 * A note that says `taking` was left by an agent that died; its daemon is ended and the hold begun anew. One daemon is kept
 * ready, because a hold is taken while a machine is down.
 */
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { asId, isUuid, type LayerId, type OperationId } from '../../../domain/ids.ts'
import { refuse } from '../../../domain/refusals.ts'
import { orphansOf } from '../orphans.ts'
import { goneWithin, isGone, killProcess, type ProcessMark } from '../processes.ts'
import { place, readIfThere } from './durable.ts'
import { LockDaemon } from './lock-daemon.ts'

type Note = { readonly state: 'taking' | 'held'; readonly daemon: ProcessMark; readonly layers: readonly LayerId[] }

/** A machine that was told to end lets go of its disks within this time; also a scheduler that is busy. */
const patienceMs = 2_000
const lookAgainMs = 25

const isNote = (name: string): boolean => name.endsWith('.json')
const sameLayers = (a: readonly LayerId[], b: readonly LayerId[]): boolean => [...a].sort().join() === [...b].sort().join()

/** A killed process lets go of its files within a moment, unless the kernel is stuck in one of them. */
const killedWithinMs = 30_000

async function endProcess(mark: ProcessMark): Promise<void> {
  await killProcess(mark)
  if (!(await goneWithin(mark, killedWithinMs))) throw refuse.hostFailure({ what: 'a lock daemon cannot be ended' })
}

export class Holds {
  readonly #directory: string
  readonly #pathOf: (layer: LayerId) => string
  readonly #patienceMs: number
  #spare: Promise<LockDaemon> | null = null
  #serial = 0

  constructor(directory: string, pathOf: (layer: LayerId) => string, patience = patienceMs) {
    this.#directory = directory
    this.#pathOf = pathOf
    this.#patienceMs = patience
  }

  /** Ends what dead agents left ready, and gets a daemon ready. */
  async open(): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 })
    const names = await readdir(this.#directory)
    for (const name of names.filter((each) => !isNote(each))) await rm(join(this.#directory, name), { force: true })
    const notes = await Promise.all(names.filter(isNote).map((name) => this.#readNote(join(this.#directory, name))))
    const holding = new Set(notes.map((note) => note?.daemon.pid))
    for (const mark of await orphansOf(this.#directory)) if (!holding.has(mark.pid)) await endProcess(mark)
    await this.#ready()
  }

  /** Ends the daemon kept ready; holds stay. */
  async close(): Promise<void> {
    const daemon = await this.#spare?.catch(() => null)
    this.#spare = null
    await daemon?.end()
  }

  async take(holder: OperationId, layers: readonly LayerId[]): Promise<void> {
    const before = await this.#note(holder)
    if (before?.state === 'held' && sameLayers(before.layers, layers) && !(await isGone(before.daemon))) return
    await this.release(holder)
    const daemon = await this.#takeReady()
    await this.#write(holder, { state: 'taking', daemon: daemon.mark, layers })
    try {
      await this.#openAll(daemon, layers)
    } catch (error) {
      await daemon.end()
      await rm(this.#path(holder), { force: true })
      throw error
    } finally {
      void this.#ready().catch(() => undefined)
    }
    await this.#write(holder, { state: 'held', daemon: daemon.mark, layers })
  }

  async release(holder: OperationId): Promise<void> {
    const note = await this.#note(holder)
    if (note === null) return
    await endProcess(note.daemon)
    await rm(this.#path(holder), { force: true })
  }

  /** In whose name there are notes. */
  async holders(): Promise<readonly OperationId[]> {
    const names = (await readdir(this.#directory)).filter(isNote).map((name) => name.slice(0, -'.json'.length))
    return names.filter(isUuid).map((name) => asId<OperationId>(name))
  }

  /** Whether one of our own holds keeps the layer, so that nobody else can be writing it. */
  async isHeld(layer: LayerId): Promise<boolean> {
    for (const name of await readdir(this.#directory)) {
      if (!isNote(name)) continue
      const note = await this.#readNote(join(this.#directory, name))
      if (note?.state === 'held' && note.layers.includes(layer) && !(await isGone(note.daemon))) return true
    }
    return false
  }

  /** Whether somebody's lock forbids us to open the layer: `read` finds writers, `write` finds any QEMU that has it open. */
  async isTaken(layer: LayerId, mode: 'read' | 'write'): Promise<boolean> {
    const daemon = await this.#ready()
    const node = `p${++this.#serial}`
    const answer = await daemon.open(node, this.#pathOf(layer), mode)
    if (answer === 'open') await daemon.close(node)
    else if (answer !== 'taken' && !daemon.isRunning) return this.isTaken(layer, mode) // a refused hold has ended it
    return answer === 'taken'
  }

  async #openAll(daemon: LockDaemon, layers: readonly LayerId[]): Promise<void> {
    const until = Date.now() + this.#patienceMs
    for (const [at, layer] of layers.entries()) {
      let answer = await daemon.open(`h${at}`, this.#pathOf(layer), 'write')
      while (answer === 'taken' && Date.now() < until) {
        await pause(lookAgainMs)
        answer = await daemon.open(`h${at}`, this.#pathOf(layer), 'write')
      }
      if (answer === 'taken') throw refuse.diskHeldOpen()
      if (answer !== 'open') throw refuse.hostFailure({ what: `layer ${layer} cannot be locked` })
    }
  }

  /** The daemon kept ready, started if there is none. */
  async #ready(): Promise<LockDaemon> {
    this.#spare ??= LockDaemon.start(this.#directory)
    const asked = this.#spare
    try {
      const daemon = await asked
      if (daemon.isRunning) return daemon
    } catch (error) {
      if (this.#spare === asked) this.#spare = null
      throw error
    }
    if (this.#spare === asked) this.#spare = null
    return this.#ready()
  }

  /** A daemon for the caller alone. */
  async #takeReady(): Promise<LockDaemon> {
    const taken = this.#spare
    this.#spare = null
    const daemon = await taken?.catch(() => null)
    return daemon?.isRunning ? daemon : LockDaemon.start(this.#directory)
  }

  async #note(holder: OperationId): Promise<Note | null> {
    return this.#readNote(this.#path(holder))
  }

  async #readNote(path: string): Promise<Note | null> {
    return JSON.parse((await readIfThere(path)) ?? 'null')
  }

  async #write(holder: OperationId, note: Note): Promise<void> {
    await place(this.#path(holder), (file) => file.writeFile(JSON.stringify(note)), 0o600)
  }

  #path = (holder: OperationId): string => join(this.#directory, `${holder}.json`)
}
