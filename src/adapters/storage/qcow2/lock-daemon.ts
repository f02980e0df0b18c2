/**
 * A `qemu-storage-daemon` that opens layers so that their own locks answer: the only witness that also sees what another
 * agent, or a person with `qemu-img`, does. It runs in a session of its own and outlives the agent; the agent speaks QMP
 * with it through its standard input and output.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { worksFor } from '../orphans.ts'
import { markOf, type ProcessMark } from '../processes.ts'
import { saysLocked } from './tool.ts'

type Reply = { readonly id?: number; readonly error?: { readonly desc: string } }

const answerDeadlineMs = 10_000

export class LockDaemon {
  readonly mark: ProcessMark
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, (reply: Reply) => void>()
  #serial = 0

  private constructor(child: ChildProcess, mark: ProcessMark) {
    this.#child = child
    this.mark = mark
    const lines = createInterface({ input: child.stdout! })
    lines.on('line', (line) => this.#hear(line))
    child.on('exit', () => this.#hangUp())
    child.stdin!.on('error', () => this.#hangUp())
  }

  /** `directory`: that of the holds it is for. */
  static async start(directory: string): Promise<LockDaemon> {
    const args = ['--chardev', 'stdio,id=qmp,signal=off', '--monitor', 'chardev=qmp']
    const env = { ...process.env, ...(await worksFor(directory)) }
    const child = spawn('qemu-storage-daemon', args, { detached: true, env, stdio: ['pipe', 'pipe', 'ignore'] })
    await once(child, 'spawn')
    const mark = await markOf(child.pid!)
    if (mark === null) throw new Error('qemu-storage-daemon ended at once')
    const daemon = new LockDaemon(child, mark)
    const { error } = await daemon.#ask('qmp_capabilities')
    if (error !== undefined) throw new Error(`qemu-storage-daemon does not serve: ${error.desc}`)
    child.unref()
    return daemon
  }

  /** Opens the layer and keeps it open. `taken`: somebody else's lock forbids it. */
  async open(node: string, path: string, mode: 'read' | 'write'): Promise<'open' | 'taken' | { failed: string }> {
    const readOnly = mode === 'read'
    const reply = await this.#ask('blockdev-add', {
      driver: 'qcow2',
      'node-name': node,
      'read-only': readOnly,
      backing: null,
      file: { driver: 'file', filename: path, 'read-only': readOnly },
    })
    if (reply.error === undefined) return 'open'
    return saysLocked(reply.error.desc) ? 'taken' : { failed: reply.error.desc }
  }

  async close(node: string): Promise<void> {
    await this.#ask('blockdev-del', { 'node-name': node })
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** Ends it; its locks are free when this returns. It has written nothing, so that it need not be asked nicely. */
  async end(): Promise<void> {
    if (!this.isRunning) return
    const gone = once(this.#child, 'exit')
    this.#child.ref()
    this.#child.kill('SIGKILL')
    await gone
  }

  #hear(line: string): void {
    const reply: Reply = JSON.parse(line)
    if (reply.id === undefined) return
    this.#waiting.get(reply.id)?.(reply)
    this.#waiting.delete(reply.id)
  }

  #hangUp(): void {
    for (const answer of this.#waiting.values()) answer({ error: { desc: 'qemu-storage-daemon has ended' } })
    this.#waiting.clear()
  }

  async #ask(execute: string, args: object = {}): Promise<Reply> {
    if (!this.isRunning) return { error: { desc: 'qemu-storage-daemon has ended' } }
    const id = ++this.#serial
    let timer: NodeJS.Timeout | undefined
    const reply = await new Promise<Reply>((resolve) => {
      timer = setTimeout(() => resolve({ error: { desc: 'qemu-storage-daemon does not answer' } }), answerDeadlineMs)
      this.#waiting.set(id, resolve)
      this.#child.stdin!.write(`${JSON.stringify({ execute, arguments: args, id })}\n`)
    })
    clearTimeout(timer)
    return reply
  }
}
