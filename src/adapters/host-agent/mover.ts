/** `VaultMover` of one host. An agent that falls silent is `hostUnreachable`: what became of the call is unknown. */
import { z } from 'zod'
import { type CallFrom, type MoverCall, moverCalls, moverSilenceMs, protocolVersion, wireError } from '../../agent/protocol.ts'
import { refuse } from '../../domain/refusals.ts'
import type { MoveProgress, Report, VaultMover } from '../../ports/vault-mover.ts'
import { linesOf, refusedBy, resultOf } from './answers.ts'
import type { Transport } from './transport.ts'

type Given = {
  readonly args: readonly unknown[]
  readonly report?: Report | undefined
  readonly signal?: AbortSignal | undefined
}

const progressLine = z.object({
  progress: z.object({ doneBytes: z.number(), totalBytes: z.number(), bytesPerSecond: z.number() }),
})
const resultLine = z.object({ result: z.unknown().optional() })

export class HttpMover implements VaultMover {
  readonly #transport: Transport
  readonly #from: CallFrom | null

  readonly #silenceMs: number

  constructor(transport: Transport, from: CallFrom | null, silenceMs = moverSilenceMs) {
    this.#transport = transport
    this.#from = from
    this.#silenceMs = silenceMs
  }

  makeVault: VaultMover['makeVault'] = (...args) => this.#call('makeVault', { args })
  readIdentity: VaultMover['readIdentity'] = (...args) => this.#call('readIdentity', { args })
  writeSlots: VaultMover['writeSlots'] = (...args) => this.#call('writeSlots', { args })
  testVault: VaultMover['testVault'] = (...args) => this.#call('testVault', { args })
  writeBackup: VaultMover['writeBackup'] = (access, request, report, signal) =>
    this.#call('writeBackup', { args: [access, request], report, signal })
  discardBackup: VaultMover['discardBackup'] = (...args) => this.#call('discardBackup', { args })
  restoreBackup: VaultMover['restoreBackup'] = (access, request, report, signal) =>
    this.#call('restoreBackup', { args: [access, request], report, signal })
  hasBackup: VaultMover['hasBackup'] = (...args) => this.#call('hasBackup', { args })
  deleteBackup: VaultMover['deleteBackup'] = (...args) => this.#call('deleteBackup', { args })
  listBackups: VaultMover['listBackups'] = (...args) => this.#call('listBackups', { args })
  sweepVolume: VaultMover['sweepVolume'] = (access, volume, signal) =>
    this.#call('sweepVolume', { args: [access, volume], signal })
  verify: VaultMover['verify'] = (access, volume, report, signal) =>
    this.#call('verify', { args: [access, volume], report, signal })

  async #call<Name extends MoverCall>(name: Name, given: Given): Promise<ResultOf<Name>> {
    const result = await this.#answered(name, given).catch((error: unknown) => {
      given.signal?.throwIfAborted()
      throw error
    })
    // The table holds each call's result against the port.
    return moverCalls[name].result.parse(result) as ResultOf<Name>
  }

  async #answered(name: MoverCall, { args, report, signal }: Given): Promise<unknown> {
    const answer = await this.#transport.send({
      method: 'POST',
      path: `/${protocolVersion}/mover/${name}`,
      requestId: this.#from?.requestId ?? null,
      deadlineMs: null,
      silenceMs: this.#silenceMs,
      signal,
      body: JSON.stringify({ args, fence: this.#from?.fence }),
    })
    return answer.statusCode === 200 ? this.#lastOf(answer, report) : resultOf(answer, this.#transport.name)
  }

  async #lastOf(answer: Parameters<typeof linesOf>[0], report: Report | undefined): Promise<unknown> {
    const host = this.#transport.name
    for await (const line of linesOf(answer, host)) {
      const progress = progressLine.safeParse(line).data?.progress satisfies MoveProgress | undefined
      const refused = wireError.safeParse(line).data
      if (progress) report?.(progress)
      else if (refused) throw refusedBy(refused, host)
      else return resultLine.parse(line).result
    }
    throw refuse.hostUnreachable({ host })
  }
}

type ResultOf<Name extends MoverCall> = Awaited<ReturnType<VaultMover[Name]>>
