/** All that the faces need of the rest of the program; `main.ts` gives it. */
import type { Readable } from 'node:stream'
import type { FastifyBaseLogger } from 'fastify'
import type { Commands } from '../../app/commands.ts'
import type { Policy } from '../../app/policy/policy.ts'
import type { HostId, InstanceId } from '../../domain/ids.ts'
import type { Operations } from '../../ports/operations.ts'
import type { Db } from '../../ports/tables.ts'
import type { Face } from './face.ts'

export type Upload = { readonly name: string; readonly sizeBytes: number; readonly md5: string; readonly sha512: string }

export type ApiSettings = {
  /** What clients are told the server's address is, without a slash at the end; null: what they called it themselves. */
  readonly publicUrl: string | null
  readonly region: string
  readonly tokenSeconds: number
  /** Largest image that may be uploaded. */
  readonly maxImageBytes: number
  /** A host not heard of for longer counts as down. */
  readonly hostSilentSeconds: number
  /** How long a synchronous answer (an upload's import, a rollback) waits for its operation; the operation goes on after that. */
  readonly waitSeconds: number
}

export type ApiNeeds = {
  readonly db: Db
  readonly commands: Commands
  readonly operations: Operations
  readonly policy: Policy
  readonly settings: ApiSettings
  readonly logger: FastifyBaseLogger
  /** Stores data on a host that can import it; refuses with `tooLarge` past the limit. What was received of a broken stream is thrown away. */
  readonly receiveUpload: (data: Readable, limit: number) => Promise<Upload>
  /** How many agents this controller was told of, and how many of them it has met since it started. */
  readonly agents: () => { readonly configured: number; readonly met: number }
  readonly console: (host: HostId, instance: InstanceId, lines: number | null) => Promise<string>
  /** Faces that are put together elsewhere: the native one. */
  readonly faces?: readonly Face[]
}
