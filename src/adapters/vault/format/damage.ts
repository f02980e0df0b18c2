import type { ObjectName } from '../../../ports/vault-store.ts'

/** An object, or a part of it, that is not what was written; or that is not there. */
export class Damaged extends Error {
  override readonly name = 'Damaged'
  readonly object: ObjectName
  readonly what: string
  /** The page or block that it is about; null: all of the object. */
  readonly id: Buffer | null

  constructor(object: ObjectName, what: string, id: Buffer | null = null) {
    super(`${object}: ${what}`)
    this.object = object
    this.what = what
    this.id = id
  }
}
