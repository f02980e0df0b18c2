/**
 * A `qemu-storage-daemon` that serves layers of one pool over NBD, on a unix socket of its own, for one job. It runs as a user who
 * can do no more with the layers than the job needs, gets the pool as an open descriptor, and dies with the agent.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants } from 'node:fs'
import { chown, type FileHandle, mkdir, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { worksFor } from '../../adapters/storage/orphans.ts'
import type { QemuUser } from '../machines/environment.ts'

const runFd = 3
const poolFd = 4

/** What the daemon calls the pool's directory. */
export const poolPath = `/proc/self/fd/${poolFd}`

export type DaemonPlan = {
  /** Made for it, and taken away with it; below the directory that it works for. */
  readonly directory: string
  readonly worksFor: string
  readonly user: QemuUser
  readonly pool: FileHandle
  /** Block nodes, each after those that it stands upon. */
  readonly nodes: readonly object[]
  readonly exports: readonly { readonly name: string; readonly node: string; readonly writable: boolean }[]
}

/** The daemon's own words, with paths of its own view; they go into the log, and are looked at for what they mean. */
export class DaemonEnded extends Error {
  override readonly name = 'DaemonEnded'
  readonly said: string

  constructor(said: string) {
    super(`qemu-storage-daemon ended: ${said}`)
    this.said = said
  }
}

/** It greets within a second; a chain of a hundred layers on a busy machine takes a few. */
const readyMs = 60_000
/** How long it may take to close its files in good order. */
const endMs = 30_000
const keptWords = 16_384

export class StorageDaemon {
  readonly socket: string
  readonly #directory: string
  readonly #child: ChildProcess
  readonly #gone: Promise<unknown>

  private constructor(child: ChildProcess, directory: string) {
    this.socket = join(directory, 'nbd')
    this.#directory = directory
    this.#child = child
    this.#gone = once(child, 'exit')
    this.#gone.catch(() => undefined)
  }

  /** Resolves when it serves; throws `DaemonEnded` when it does not come to that. */
  static async start(plan: DaemonPlan): Promise<StorageDaemon> {
    const { directory, user } = plan
    await rm(directory, { recursive: true, force: true })
    await mkdir(directory, { recursive: true, mode: 0o700 })
    if (user !== null) await chown(directory, user.uid, user.gid)
    await using run = await open(directory, constants.O_DIRECTORY)
    const [command = '', ...args] = [...confined(user), 'qemu-storage-daemon', ...daemonArguments(plan)]
    const child = spawn(command, args, {
      detached: true,
      cwd: '/',
      env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin', LC_ALL: 'C.UTF-8', ...(await worksFor(plan.worksFor)) },
      stdio: ['pipe', 'pipe', 'pipe', run.fd, plan.pool.fd],
    })
    const daemon = new StorageDaemon(child, directory)
    try {
      await daemon.#ready()
      return daemon
    } catch (error) {
      await daemon.end()
      throw error
    }
  }

  /** Its locks are free when this returns. What it had written but not flushed is flushed, if it can be. */
  async end(): Promise<void> {
    const child = this.#child
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), endMs)
      await this.#gone
      clearTimeout(timer)
    }
    await rm(this.#directory, { recursive: true, force: true })
  }

  async #ready(): Promise<void> {
    const child = this.#child
    let said = ''
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-keptWords)
    })
    child.stdin?.on('error', () => undefined)
    const ended = once(child, 'close').then(() => Promise.reject(new DaemonEnded(said.trim())))
    ended.catch(() => undefined)
    const deadline = AbortSignal.timeout(readyMs)
    await Promise.race([once(child.stdout!, 'data', { signal: deadline }), ended])
    child.stdout?.resume()
  }
}

function daemonArguments({ nodes, exports }: DaemonPlan): string[] {
  const served = exports.map(({ name, node, writable }) =>
    [`type=nbd,id=${name},name=${name},node-name=${node}`, `writable=${writable ? 'on' : 'off'},allocation-depth=on`].join(','),
  )
  return [
    ...['--nbd-server', `addr.type=unix,addr.path=/proc/self/fd/${runFd}/nbd,max-connections=0`],
    ...nodes.flatMap((node) => ['--blockdev', JSON.stringify(node)]),
    ...served.flatMap((one) => ['--export', one]),
    // Options take effect in their order: the monitor greets when everything before it is there.
    ...['--chardev', 'stdio,id=monitor,signal=off', '--monitor', 'chardev=monitor'],
  ]
}

/** The process keeps its number, so the one that was spawned is the daemon's. */
function confined(user: QemuUser): string[] {
  const always = ['--pdeathsig=KILL', '--no-new-privs', '--bounding-set=-all', '--inh-caps=-all', '--']
  if (user === null) return ['setpriv', '--pdeathsig=KILL', '--no-new-privs', '--']
  return ['setpriv', `--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups', ...always]
}
