/** What commands ask of the rest; the composition root supplies it. */
import type { HostId, OperationId, ProjectId } from '../domain/ids.ts'
import type { Operations } from '../ports/operations.ts'
import type { Secrets, VaultKeys } from '../ports/secrets.ts'
import type { Db } from '../ports/tables.ts'
import type { VaultMover } from '../ports/vault-mover.ts'
import type { Caller } from './caller.ts'
import type { PolicyName } from './policy/policy.ts'

export type Needs = {
  readonly db: Db
  readonly operations: Operations
  /** Moves data of vaults on a host, for calls that are no operation's: `caller` is what they are fenced with. */
  readonly mover: (host: HostId, caller: OperationId) => Promise<VaultMover>
  readonly secrets: Secrets
  readonly vaultKeys: VaultKeys
  /** Throws `forbidden` unless the policy lets the caller do this to something of that project. */
  readonly allow: (caller: Caller, rule: PolicyName, target: { readonly project: ProjectId }) => void
  /** Deadlines and defaults, from the configuration. */
  readonly settings: {
    readonly freezeSeconds: number
    readonly hostSilentSeconds: number
    readonly poolReserveBytes: number
    /** Volume operations that one user may have in flight. */
    readonly volumeOperationsPerUser: number
  }
}
