import type { ObjectName } from '../../../ports/vault-store.ts'

/** An object, or a part of it, that is not what was written; or that is not there. */
export class Damaged extends Error {
  override readonly name = 'Damaged'
  readonly object: ObjectName
  readonly what: string

  constructor(object: ObjectName, what: string) {
    super(`${object}: ${what}`)
    this.object = object
    this.what = what
  }
}
