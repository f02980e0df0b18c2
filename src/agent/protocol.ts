/**
 * What controller and agent say to each other: HTTP/1.1 with JSON bodies, over a unix socket on one box and over mutual TLS
 * between hosts. The calls are those of two ports, checked on both sides by the schemas below.
 *
 *   POST /v1/host/<call>                       {args, fence} -> {result}
 *   POST /v1/pools/<pool>/<call>               {args, fence} -> {result}
 *   POST /v1/mover/<call>                      {args, fence} -> JSON lines: {progress} …, then {result} or {error}
 *   PUT  /v1/pools/<pool>/incoming/<upload>    the data      -> {result: {sizeBytes, md5, sha512}}
 *   GET  /v1/events?after=<seq>                one JSON line an event, for as long as both live
 *
 * A refusal is {error: {code, kind, message, facts}} under the status of its kind; a defect of the agent is 500 with nothing
 * inside. Whatever touches a vault may take long, and says so at least every few seconds: silence means that nobody is there.
 * Calls that change something carry a fence: the agent remembers the highest epoch of each resource, ends what a lower
 * one has under way, and refuses it from then on.
 */
import { z } from 'zod'
import type { OperationId, RequestId } from '../domain/ids.ts'
import type { RefusalKind } from '../domain/refusals.ts'
import type { HostAgent } from '../ports/host-agent.ts'
import type { StorageDriver } from '../ports/storage-driver.ts'
import type { Report, VaultMover } from '../ports/vault-mover.ts'
import * as wire from './wire/schemas.ts'
import * as vault from './wire/vault.ts'

export { runDirectoryOf } from './machines/names.ts'
export { hostEvent, received, uploadName } from './wire/schemas.ts'

/** Raised when an agent of the former version would misunderstand; it is the first part of every path. */
export const protocolVersion = 'v1'

export const requestIdHeader = 'x-openstack-request-id'

export type Fence = {
  /** What the operation has locked: `instance:<id>`, `volume:<id>`, … */
  readonly resource: string
  readonly epoch: number
  readonly operation: OperationId
}

/** Who calls, on behalf of what. */
export type CallFrom = { readonly fence: Fence; readonly requestId: RequestId }

export const fence = z.strictObject({
  resource: z.string().regex(/^[a-z]+:[A-Za-z0-9._-]{1,64}$/),
  epoch: z.number().int().positive(),
  operation: wire.operationId,
})

type WithoutLast<Last, Args extends readonly unknown[]> = Args extends readonly [...infer First, (Last | undefined)?]
  ? Last extends Args[Extract<keyof Args, `${number}`>]
    ? First
    : Args
  : Args

/** What of a call's arguments crosses: neither who may end it, nor who is told how far it is. */
type Crossing<Args extends readonly unknown[]> = WithoutLast<Report, WithoutLast<AbortSignal, Args>>

// biome-ignore lint/suspicious/noExplicitAny: any function at all; what it takes and gives is inferred.
type Callable = (...args: any[]) => Promise<any>

export type CallsOf<Port> = {
  readonly [Name in keyof Port as Port[Name] extends Callable ? Name : never]: Port[Name] extends Callable
    ? {
        readonly changes: boolean
        readonly args: z.ZodType<Crossing<Parameters<Port[Name]>>>
        readonly result: z.ZodType<Awaited<ReturnType<Port[Name]>>>
      }
    : never
}

const reads = <Args, Result>(args: Args, result: Result) => ({ changes: false, args, result }) as const
const changes = <Args, Result>(args: Args, result: Result) => ({ changes: true, args, result }) as const
const nothing = z.void()

export const hostCalls = {
  hello: reads(z.tuple([]), wire.hello),
  startMachine: changes(z.tuple([wire.machineSpec]), nothing),
  stopMachine: changes(z.tuple([wire.instanceId, wire.stopMode]), wire.stopped),
  resetMachine: changes(z.tuple([wire.instanceId]), nothing),
  machine: reads(z.tuple([wire.instanceId]), wire.machineView),
  machines: reads(z.tuple([]), z.array(wire.machineView)),
  pauseMachine: changes(z.tuple([wire.instanceId]), nothing),
  resumeMachine: changes(z.tuple([wire.instanceId]), nothing),
  pivot: changes(z.tuple([wire.pivotRequest]), wire.pivotOutcome),
  attachDisk: changes(z.tuple([wire.instanceId, wire.disk]), nothing),
  detachDisk: changes(z.tuple([wire.instanceId, wire.device]), nothing),
  resizeDisk: changes(z.tuple([wire.instanceId, wire.device, wire.bytes]), nothing),
  mergeLive: changes(z.tuple([wire.instanceId, wire.device, wire.poolId, wire.merge]), nothing),
  console: reads(z.tuple([wire.instanceId, z.number().int().nonnegative().nullable()]), z.string()),
  forgetMachine: changes(z.tuple([wire.instanceId]), nothing),
} as const satisfies CallsOf<HostAgent>

export const poolCalls = {
  newLayer: changes(z.tuple([wire.layerId, wire.pointRef.nullable(), wire.bytes, wire.layerRecord]), nothing),
  mark: changes(z.tuple([wire.layerId, wire.pointId, wire.layerRecord]), nothing),
  unmark: changes(z.tuple([wire.layerId, wire.pointId, wire.layerRecord]), nothing),
  remove: changes(z.tuple([wire.layerId]), nothing),
  describe: changes(z.tuple([wire.layerRecord]), nothing),
  readRecord: reads(z.tuple([wire.layerId]), wire.layerRecord.nullable()),
  grow: changes(z.tuple([wire.layerId, wire.bytes]), nothing),
  merge: changes(z.tuple([wire.merge]), nothing),
  hold: changes(z.tuple([wire.operationId, z.array(wire.layerId)]), nothing),
  release: changes(z.tuple([wire.operationId]), nothing),
  holders: reads(z.tuple([]), z.array(wire.operationId)),
  hasWriter: reads(z.tuple([wire.layerId]), z.boolean()),
  importUpload: changes(
    z.tuple([wire.layerId, wire.uploadName, z.enum(['raw', 'qcow2']), wire.layerRecord]),
    z.object({ sizeBytes: wire.bytes }),
  ),
  adoptBlob: changes(z.tuple([wire.imageId, wire.uploadName]), nothing),
  removeBlob: changes(z.tuple([wire.imageId]), nothing),
  discardUpload: changes(z.tuple([wire.uploadName]), nothing),
  keepDatabaseDump: changes(z.tuple([wire.uploadName, z.number().int().positive()]), nothing),
  isEmpty: reads(z.tuple([wire.layerId]), z.boolean()),
  allocated: reads(z.tuple([z.array(wire.layerId)]), z.record(wire.layerId, wire.bytes)),
  survey: reads(z.tuple([]), wire.survey),
  space: reads(z.tuple([]), z.object({ totalBytes: wire.bytes, freeBytes: wire.bytes })),
} as const satisfies CallsOf<StorageDriver>

export const moverCalls = {
  makeVault: changes(z.tuple([vault.vaultAccess, vault.vaultIdentity]), nothing),
  readIdentity: reads(z.tuple([vault.vaultPlace]), vault.vaultIdentity.nullable()),
  writeSlots: changes(z.tuple([vault.vaultAccess, z.array(vault.keySlot).min(1)]), nothing),
  testVault: reads(z.tuple([vault.vaultAccess]), vault.testOutcome),
  writeBackup: changes(z.tuple([vault.vaultAccess, vault.writeBackup]), vault.backupOutcome),
  discardBackup: changes(z.tuple([vault.vaultAccess, vault.backupRef]), nothing),
  restoreBackup: changes(z.tuple([vault.vaultAccess, vault.restoreBackup]), vault.restoreOutcome),
  hasBackup: reads(z.tuple([vault.vaultAccess, vault.backupRef]), z.boolean()),
  deleteBackup: changes(z.tuple([vault.vaultAccess, vault.backupRef]), nothing),
  listBackups: reads(z.tuple([vault.vaultAccess]), z.array(vault.foundBackup)),
  sweepVolume: changes(z.tuple([vault.vaultAccess, wire.volumeId]), vault.sweepOutcome),
  verify: reads(z.tuple([vault.vaultAccess, wire.volumeId.nullable()]), vault.verifyOutcome),
} as const satisfies CallsOf<VaultMover>

export type MoverCall = keyof typeof moverCalls
export type HostCall = keyof typeof hostCalls
export type PoolCall = keyof typeof poolCalls

/** How long the agent may say nothing while a call about a vault runs; it speaks far more often. */
export const moverSilenceMs = 60_000
export const moverSpeaksMs = 2_000

export const wireError = z.object({
  error: z.object({
    code: z.string(),
    kind: z.string(),
    message: z.string(),
    facts: z.record(z.string(), z.unknown()),
  }),
})

export const wireStatus = {
  invalid: 400,
  unauthenticated: 401,
  forbidden: 403,
  notFound: 404,
  notAcceptable: 406,
  conflict: 409,
  tooLarge: 413,
  unsupportedMedia: 415,
  overLimit: 422,
  tooSoon: 429,
  notImplemented: 501,
  unavailable: 503,
} as const satisfies Record<RefusalKind, number>

export const isRefusalKind = (text: string): text is RefusalKind => Object.hasOwn(wireStatus, text)
