/** What can go wrong when talking to an NBD server. None of these reaches a client as it is. */

/** The server answered, and said no. `errno` is one of the protocol's own. */
export class NbdRefused extends Error {
  override readonly name = 'NbdRefused'
  readonly errno: number

  constructor(what: string, errno: number, said: string) {
    super(`${what}: error ${errno}${said === '' ? '' : ` (${said})`}`)
    this.errno = errno
  }
}

/** The connection ended before the answer. Whether a write was carried out is unknown. */
export class NbdClosed extends Error {
  override readonly name = 'NbdClosed'

  constructor(why: string) {
    super(`the NBD server is gone: ${why}`)
  }
}

/** The server sent what the protocol does not allow here; the connection is given up. */
export class NbdConfused extends Error {
  override readonly name = 'NbdConfused'

  constructor(what: string) {
    super(`the NBD server does not keep to the protocol: ${what}`)
  }
}
