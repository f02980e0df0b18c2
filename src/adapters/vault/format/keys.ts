/** Every key that is used in a vault, derived from its data key. */
import { createHmac, hkdfSync } from 'node:crypto'
import type { ProjectId } from '../../../domain/ids.ts'

/** What an object is: also a byte of its header, and bound into its key. */
export const objectKinds = { manifest: 1, sweep: 2, marker: 3, pack: 4, index: 5 } as const
export type ObjectKind = keyof typeof objectKinds

export const saltBytes = 16

const derive = (key: Buffer, salt: Uint8Array, info: string): Buffer => Buffer.from(hkdfSync('sha256', key, salt, info, 32))

export class VaultKeyring {
  readonly #dataKey: Buffer

  /** `dataKey`: 32 bytes. */
  constructor(dataKey: Buffer) {
    if (dataKey.length !== 32) throw new Error('a data key has 32 bytes')
    this.#dataKey = dataKey
  }

  /** Of one object; its salt is random and stands in its header, so no two objects have the same key. */
  ofObject(kind: ObjectKind, salt: Uint8Array): Buffer {
    return derive(this.#dataKey, salt, `comeback vault 1 ${kind}`)
  }

  /** Names content. Equal content of one project has equal ids; nobody without the key can tell what it is. */
  ofHashes(project: ProjectId): Buffer {
    return derive(this.#dataKey, Buffer.alloc(0), `comeback vault 1 hash ${project}`)
  }

  /** What vault.json says of itself was written by somebody who has the key. */
  prove(identity: string): string {
    return createHmac('sha256', derive(this.#dataKey, Buffer.alloc(0), 'comeback vault 1 identity'))
      .update(identity)
      .digest('base64')
  }
}
