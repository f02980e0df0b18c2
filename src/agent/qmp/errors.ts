/** What can go wrong when talking to QEMU. None of these reaches a client as it is. */

/** QEMU answered, and said no. `class` is QMP's own: mostly GenericError, or CommandNotFound, DeviceNotFound, … */
export class QmpRefused extends Error {
  override readonly name = 'QmpRefused'
  readonly command: string
  readonly class: string
  /** In the peer's own words. */
  readonly description: string

  constructor(command: string, kind: string, description: string) {
    super(`${command}: ${description}`)
    this.command = command
    this.class = kind
    this.description = description
  }
}

/** The connection ended before the answer: the process is gone, or is going. */
export class QmpClosed extends Error {
  override readonly name = 'QmpClosed'

  constructor(command: string) {
    super(`${command}: QEMU closed the connection`)
  }
}

/** No answer in time. Whether the command was carried out is unknown. */
export class QmpTimeout extends Error {
  override readonly name = 'QmpTimeout'

  constructor(command: string, deadlineMs: number) {
    super(`${command}: no answer from QEMU within ${deadlineMs} ms`)
  }
}
