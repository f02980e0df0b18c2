/**
 * Every way the product says no, declared once: a stable code, a kind, and a sentence that says what, why and what to do.
 * Faces turn the kind into their own status and envelope. Anything thrown that is not a `Refusal` is a defect of ours.
 */
import { titleOf } from './operation.ts'

export type RefusalKind =
  | 'invalid'
  | 'unauthenticated'
  | 'forbidden'
  | 'notFound'
  | 'conflict'
  | 'tooLarge'
  | 'overLimit'
  | 'tooSoon'
  | 'unavailable'
  | 'notAcceptable'
  | 'unsupportedMedia'
  | 'notImplemented'

export type Facts = Readonly<Record<string, unknown>>

export class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly code: string
  readonly kind: RefusalKind
  readonly facts: Facts

  constructor(code: string, kind: RefusalKind, message: string, facts: Facts = {}) {
    super(message)
    this.code = code
    this.kind = kind
    this.facts = facts
  }
}

// biome-ignore lint/suspicious/noExplicitAny: each row has its own facts; the mapped type below restores them.
type Row = readonly [RefusalKind, (facts: any) => string]

function declareRefusals<Table extends Record<string, Row>>(table: Table) {
  const make =
    (code: string, [kind, say]: Row) =>
    (facts: Facts = {}) =>
      new Refusal(code, kind, say(facts), facts)
  const makers: unknown = Object.fromEntries(Object.entries(table).map(([code, row]) => [code, make(code, row)]))
  return makers as { [Code in keyof Table]: (...facts: Parameters<Table[Code][1]>) => Refusal }
}

type What = { what: string; id: string }

const table = {
  malformed: ['invalid', (f: { why: string }) => f.why],
  notFound: ['notFound', (f: What) => `${f.what} ${f.id} could not be found.`],
  unauthenticated: ['unauthenticated', () => 'The request you have made requires authentication.'],
  forbidden: ['forbidden', (f: { rule: string }) => `Policy doesn't allow ${f.rule} to be performed.`],
  tokenNotFound: ['notFound', () => 'Could not find this token: it is unknown, expired or revoked.'],
  unscoped: ['forbidden', () => 'This token belongs to no project. Ask for one that is scoped to a project.'],
  unsupportedMedia: ['unsupportedMedia', () => 'This content type is not understood here. Send application/json.'],
  notAcceptable: ['notAcceptable', (f: { why: string }) => f.why],
  noSuchPath: ['notFound', () => 'The resource could not be found.'],
  nameTaken: ['conflict', (f: { what: string; name: string }) => `${f.what} '${f.name}' already exists.`],
  inUse: ['conflict', (f: { what: string; id: string; by: string }) => `${f.what} ${f.id} is in use by ${f.by}.`],
  tooLarge: ['tooLarge', (f: { limit: number }) => `The request is larger than ${f.limit} bytes.`],
  notImplemented: ['notImplemented', (f: { what: string }) => `${f.what} is not offered here.`],

  instanceWrongState: [
    'conflict',
    (f: { action: string; id: string; state: string }) =>
      `Cannot '${f.action}' instance ${f.id} while it is in vm_state ${f.state}`,
  ],
  instanceBusy: [
    'conflict',
    (f: { id: string; operation: string }) =>
      `Another operation is in progress: instance ${f.id} is busy with ${titleOf(f.operation)}. Wait for it to complete and retry.`,
  ],
  volumeBusy: ['conflict', (f: { operation: string }) => `Volume is busy with operation: ${titleOf(f.operation)}`],
  resourceBusy: [
    'conflict',
    (f: { what: string; id: string; operation: string }) =>
      `Another operation is in progress: ${f.what} ${f.id} is busy with ${titleOf(f.operation)}. Wait for it to complete and retry.`,
  ],
  volumeWrongState: [
    'invalid',
    (f: { id: string; needs: string; state: string }) =>
      `Invalid volume: Volume ${f.id} status must be ${f.needs}, but current status is: ${f.state}.`,
  ],
  revertWrongState: [
    'conflict',
    (f: { id: string; snapshot: string; state: string }) =>
      `Can't revert volume ${f.id} to snapshot ${f.snapshot}. Volume's status must be 'available', but it is '${f.state}'.`,
  ],
  restoreWhileRunning: [
    'conflict',
    (f: { instance: string }) =>
      `Cannot restore in-place while attached to a running instance. Stop instance ${f.instance} or detach the volume first, roll the instance back instead, or restore to a new volume.`,
  ],
  volumeCooldown: [
    'tooSoon',
    (f: { retry_after_seconds: number }) => `Volume is in cooldown. Try again in ${f.retry_after_seconds} seconds.`,
  ],
  snapshotLimit: [
    'overLimit',
    (_: { limit: number; plan: string }) => 'Snapshot limit reached. Delete an existing snapshot first.',
  ],
  backupLimit: ['overLimit', (_: { limit: number; plan: string }) => 'Backup limit reached. Delete an existing backup first.'],
  noVault: [
    'conflict',
    () =>
      "Hypervisor has no backup storage configured. An administrator makes a vault with 'comeback vault create' and gives it to the host's group, or makes it the default.",
  ],
  backupUnusable: [
    'conflict',
    (f: { id: string; state: string }) =>
      `Backup ${f.id} is ${f.state}; only an available backup can be restored, and only one that is not being used can be deleted.`,
  ],
  backupLarger: [
    'invalid',
    (f: { backup: number; volume: number }) =>
      `The backup holds ${f.backup} bytes and the volume only ${f.volume}. Restore it to a new volume instead, or extend the volume first.`,
  ],
  backupDamaged: [
    'unavailable',
    (f: { object: string; backups: readonly string[] }) =>
      `The vault's object ${f.object} is damaged; nothing was changed. Backups that cannot be restored whole because of it: ${f.backups.join(', ')}. Restore another one, and run 'comeback vault verify'.`,
  ],
  vaultDamaged: [
    'unavailable',
    (f: { object: string }) =>
      `${f.object} of the vault is damaged, and without it no recovery key opens the vault. Put it back from a copy of the vault; where the vault is still in use, 'comeback vault kit' writes it anew.`,
  ],
  vaultUnreachable: [
    'unavailable',
    (f: { vault: string }) =>
      `Vault ${f.vault} is not where it should be: it is unmounted, unreachable, or another vault lies there. Mount it and retry.`,
  ],
  vaultFull: [
    'unavailable',
    (f: { vault: string }) => `Vault ${f.vault} has no room left. Delete backups, or give it more space, and retry.`,
  ],
  vaultReadOnly: [
    'unavailable',
    (f: { vault: string }) =>
      `Vault ${f.vault} cannot be written: its directory is read-only, or not ours. Make it writable for the agent's user and retry.`,
  ],
  vaultNewer: [
    'conflict',
    (f: { has: number; knows: number }) =>
      `The vault is of format ${f.has}, and this version of Comeback knows only up to ${f.knows}. Run the newer version.`,
  ],
  vaultNotEmpty: [
    'conflict',
    (f: { place: string }) =>
      `${f.place} is not an empty directory. Give an empty one, or add the vault that lies there with its recovery key.`,
  ],
  vaultPlaceRefused: [
    'invalid',
    (f: { place: string; why: string }) => `${f.place} cannot hold a vault: ${f.why}. Give another directory.`,
  ],
  vaultInUse: ['conflict', (f: { vault: string; why: string }) => `Vault ${f.vault} cannot be removed: ${f.why}.`],
  recoveryKeyRefused: ['invalid', (f: { why: string }) => `This recovery key does not open the vault: ${f.why}.`],
  secretUnreadable: [
    'unavailable',
    (f: { what: string }) =>
      `${f.what} was sealed under another secret key than this installation has. Put the former secret.key back, or add the vault again with its recovery key.`,
  ],
  sweptMeanwhile: [
    'conflict',
    () => 'The vault was swept while this backup was being written, so it was not completed. Retry.',
  ],
  volumeOperationLimit: [
    'tooSoon',
    (f: { limit: number }) =>
      `You have ${f.limit} volume operations in flight, the most there may be at once. Wait for one of them to complete and retry.`,
  ],
  notConfirmed: [
    'invalid',
    (f: { what: string; name: string }) => `This cannot be taken back: confirm it with the name of the ${f.what}, '${f.name}'.`,
  ],
  snapshotUnusable: ['conflict', () => 'Snapshot not found or not active'],
  snapshotHasDependents: ['invalid', (f: { id: string; why: string }) => `Invalid snapshot: Snapshot ${f.id} ${f.why}.`],
  preflightFailed: ['conflict', (f: { message: string; errors: readonly unknown[] }) => f.message],
  volumeTooSmall: [
    'invalid',
    (f: { size: number; needs: number }) =>
      `Invalid input received: a volume of ${f.size} GiB cannot hold the ${f.needs} GiB of its source. Ask for at least ${f.needs} GiB.`,
  ],
  diskHeldOpen: [
    'conflict',
    () =>
      'RBD image has active watchers; refusing rollback: the disk is still held open by another process. It was retried; if it persists, find and end what holds the disk.',
  ],
  layersBusy: [
    'unavailable',
    () =>
      'Layers of this disk are in use: a backup reads them, or they are being merged. Nothing was changed; retry in a minute.',
  ],
  chainTooLong: [
    'conflict',
    (f: { id: string; depth: number }) =>
      `Volume ${f.id} already keeps ${f.depth} snapshots in one line, the most there may be. Delete snapshots that are no longer needed and retry.`,
  ],
  catalogueNewer: [
    'conflict',
    (f: { volume: string; database: number; storage: number }) =>
      `Volume ${f.volume} is at generation ${f.storage} on its storage, and the database knows only ${f.database}: the database is older than the disks. Nothing was started. Run 'comeback recover --from-pools'.`,
  ],
  poolAhead: [
    'conflict',
    (f: { pool: string }) =>
      `Pool ${f.pool} has seen later operations than this database knows: the database is older than the disks. Nothing was done. An administrator runs 'comeback recover --from-pools' first.`,
  ],
  noHost: ['unavailable', (f: { why: string }) => `No valid host was found: ${f.why}`],
  hostUnreachable: ['unavailable', (f: { host: string }) => `Host ${f.host} does not answer. Retry when it is back.`],
  databaseUnavailable: [
    'unavailable',
    () => 'The database does not answer. Retry shortly, with the same Idempotency-Key if you gave one.',
  ],
  poolFull: [
    'unavailable',
    (f: { pool: string }) => `Pool ${f.pool} has too little free space for this. Free some space or ask the administrator.`,
  ],
  imageNotUsable: ['invalid', (f: { id: string; why: string }) => `Image ${f.id} is unacceptable: ${f.why}`],
  bootPartUnusable: [
    'invalid',
    (f: { what: string; id: string; why: string }) =>
      `The image names ${f.id} as its ${f.what}, which cannot be used: ${f.why}.`,
  ],
  flavorMemoryTooSmall: [
    'invalid',
    (f: { has: number; needs: number }) =>
      `Flavor's memory is too small for requested image: it has ${f.has} MiB, and the image asks for ${f.needs} MiB.`,
  ],
  fixedIpNotValid: [
    'invalid',
    (f: { ip: string; network: string; why: string }) =>
      `Fixed IP address ${f.ip} is not a valid ip address for network ${f.network}: ${f.why}.`,
  ],
  imageDataRefused: ['invalid', (f: { why: string }) => `Invalid image data: ${f.why}`],
  staleEpoch: [
    'conflict',
    (f: { resource: string; given: number; seen: number }) =>
      `A newer owner (epoch ${f.seen}) has taken over ${f.resource}; epoch ${f.given} may not act any more.`,
  ],
  cancelled: ['conflict', () => 'The operation was cancelled; what it had done was taken back.'],
  operationNotStuck: [
    'conflict',
    (f: { id: string; state: string }) =>
      `Operation ${f.id} is ${f.state}, not stuck: only a stuck operation can be forced to end. Cancel it, or wait.`,
  ],
  operationFailed: [
    'unavailable',
    (f: { operation: string }) => `Operation ${f.operation} did not succeed; what it did was taken back.`,
  ],
  stillRunning: [
    'unavailable',
    (f: { operation: string }) => `Operation ${f.operation} is taking long. It goes on by itself: ask for its state later.`,
  ],
  imageProtected: ['forbidden', (f: { id: string }) => `Image ${f.id} is protected and cannot be deleted.`],
  noProperty: ['conflict', (f: { name: string }) => `There is no property '${f.name}'.`],
  readOnly: ['forbidden', (f: { name: string }) => `Attribute '${f.name}' is read-only.`],
  imageWrongState: [
    'conflict',
    (f: { id: string; state: string; needs: string }) =>
      `Image status transition from ${f.state} is not allowed: image ${f.id} must be ${f.needs}.`,
  ],
  imageDataNotKept: [
    'notFound',
    (f: { id: string }) =>
      `The data of image ${f.id} is not kept in the form in which it was uploaded and cannot be downloaded.`,
  ],
  instanceLocked: ['conflict', (f: { id: string }) => `Instance ${f.id} is locked`],
  idempotencyMismatch: ['conflict', () => 'This Idempotency-Key was used for a different request. Use a new key.'],
  nothingToUndo: ['conflict', (f: { id: string; why: string }) => `Operation ${f.id} cannot be undone: ${f.why}.`],
  hostFailure: ['unavailable', (f: { what: string }) => `The host could not do it: ${f.what}`],

  // Said to the operator when something cannot be set up or started.
  setup: ['unavailable', (f: { why: string; status?: number }) => f.why],
  badPolicy: ['invalid', (f: { why: string }) => `The policy cannot be used: ${f.why}.`],
  badSetting: ['invalid', (f: { name: string; value: string; needs: string }) => `${f.name}='${f.value}' is not ${f.needs}.`],
  databaseUnsafe: [
    'unavailable',
    (f: { setting: string; is: string; needs: string }) =>
      `PostgreSQL has ${f.setting} = '${f.is}' where Comeback needs '${f.needs}'. Set it so and start again.`,
  ],
  databaseNewer: [
    'conflict',
    (f: { has: string; knows: string }) =>
      `The database is at migration ${f.has} and this version of Comeback knows only up to ${f.knows}. Run the newer version.`,
  ],
  migrationChanged: [
    'conflict',
    (f: { name: string }) =>
      `Migration ${f.name} is not the one that was applied to this database. Run the version that made it, or start with a new state.`,
  ],
} satisfies Record<string, Row>

export type RefusalCode = keyof typeof table

export const refuse = declareRefusals(table)

/** The kind of each refusal, for those who describe an interface. */
export const kindOf = (code: RefusalCode): RefusalKind => table[code][0] as RefusalKind

const kinds: ReadonlyMap<string, RefusalKind> = new Map(Object.entries(table).map(([code, [kind]]) => [code, kind]))

/** A refusal again from its stored code and sentence: what an operation that went back has to say. */
export const refusalOf = ({ code, message }: { readonly code: string; readonly message: string }): Refusal =>
  new Refusal(code, kinds.get(code) ?? 'unavailable', message)
