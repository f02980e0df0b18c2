/** The same with bare tools, as a script would do it: what QEMU and qemu-img alone cost on this machine, now. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { QmpClient } from '../src/agent/qmp/client.ts'

const run = promisify(execFile)
const qemuImg = (...args: string[]) => run('qemu-img', args, { timeout: 60_000 })

export type BareFigures = { readonly off: number; readonly whole: number }

/** A machine with so many disks, each so many files deep, that can be rolled back by hand. */
export class BareMachine {
  readonly #folder: string
  readonly #disks: number
  readonly #base: string
  #qemu: QmpClient | null = null
  #exited: Promise<unknown> = Promise.resolve()
  #generation = 0

  private constructor(folder: string, disks: number, base: string) {
    this.#folder = folder
    this.#disks = disks
    this.#base = base
  }

  static async start(disks: number, depth: number): Promise<BareMachine> {
    const folder = await mkdtemp(join(tmpdir(), 'comeback-bare-'))
    let base = join(folder, 'base.qcow2')
    await qemuImg('create', '-q', '-f', 'qcow2', base, '1G')
    for (let at = 1; at < depth; at += 1) {
      const over = join(folder, `chain-${at}.qcow2`)
      await qemuImg('create', '-q', '-f', 'qcow2', '-b', base, '-F', 'qcow2', over)
      base = over
    }
    const machine = new BareMachine(folder, disks, base)
    await machine.#prepare()
    await machine.#spawn()
    return machine
  }

  /** Creates new files, quits, spawns with them; off from the order to quit to the new greeting. */
  async rollBack(): Promise<BareFigures> {
    const start = performance.now()
    this.#generation += 1
    await this.#prepare()
    const since = performance.now()
    await this.#quit()
    await this.#spawn()
    const end = performance.now()
    return { off: (end - since) / 1000, whole: (end - start) / 1000 }
  }

  async end(): Promise<void> {
    await this.#quit()
    await rm(this.#folder, { recursive: true, force: true })
  }

  #file = (disk: number): string => join(this.#folder, `disk-${this.#generation}-${disk}.qcow2`)

  async #prepare(): Promise<void> {
    const files = Array.from({ length: this.#disks }, (_, disk) => this.#file(disk))
    await Promise.all(files.map((file) => qemuImg('create', '-q', '-f', 'qcow2', '-b', this.#base, '-F', 'qcow2', file)))
  }

  async #spawn(): Promise<void> {
    const socket = join(this.#folder, 'qmp')
    const disks = Array.from({ length: this.#disks }, (_, disk) => [
      ...['-drive', `if=none,id=d${disk},format=qcow2,file=${this.#file(disk)}`],
      ...['-device', `virtio-blk-pci,drive=d${disk}`],
    ])
    const machine = ['-machine', 'q35', '-accel', 'tcg', '-m', '128', '-nodefaults', '-no-user-config', '-display', 'none']
    const qemu = spawn('qemu-system-x86_64', [...machine, '-qmp', `unix:${socket},server=on,wait=off`, ...disks.flat()], {
      stdio: 'ignore',
    })
    this.#exited = once(qemu, 'exit')
    this.#qemu = await whenThere(socket)
  }

  async #quit(): Promise<void> {
    await this.#qemu?.execute('quit').catch(() => undefined) // it may go before it answers
    await this.#exited
  }
}

/** A machine that was just spawned does not listen yet. */
async function whenThere(socket: string): Promise<QmpClient> {
  for (const until = performance.now() + 30_000; ; await pause(1)) {
    try {
      return await QmpClient.connect(socket, { deadlineMs: 30_000 })
    } catch (error) {
      if (performance.now() > until) throw error
    }
  }
}
