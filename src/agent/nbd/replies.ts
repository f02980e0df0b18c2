/** What a server says once the export is open: answers by handle, in any order, whole or in chunks. */
import { chunk, command, magic, replyFlag } from './constants.ts'
import { NbdConfused, NbdRefused } from './errors.ts'
import type { Script } from './script.ts'

export type Status = { readonly length: number; readonly status: number }

/** A request that has been sent. What its answer brings is collected here. */
export type Asked = {
  readonly kind: number
  readonly offset: number
  readonly length: number
  /** Of a read: where its bytes go. */
  readonly into: Buffer | null
  readonly pieces: { readonly from: number; readonly to: number }[]
  readonly statuses: Map<number, readonly Status[]>
  error: Error | null
  readonly resolve: () => void
  readonly reject: (why: Error) => void
}

/** Nothing but data comes in such lengths: 128 Ki extents, QEMU's own limit, take 1 MiB. */
const longestPayload = 4 * 1024 * 1024
const longestMessage = 4096

/** Requests by handle. One whose answer is wrong stays among them, to be rejected with all others. */
type UnderWay = Map<number, Asked>

/** Reads answers for ever; a request that is answered is settled and taken out. */
export function* answers(underWay: UnderWay): Script<never> {
  for (;;) {
    const kind = (yield 4).readUInt32BE(0)
    if (kind === magic.simpleReply) yield* simpleReply(underWay)
    else if (kind === magic.structuredReply) yield* structuredReply(underWay)
    else throw new NbdConfused('a reply does not begin as one')
  }
}

function* simpleReply(underWay: UnderWay): Script {
  const head = yield 12
  const error = head.readUInt32BE(0)
  const handle = handleIn(head, 4)
  const asked = found(underWay, handle)
  if (asked.kind === command.read || asked.kind === command.blockStatus)
    throw new NbdConfused('a simple reply where a structured one was agreed on')
  if (error !== 0) asked.error ??= new NbdRefused(describe(asked), error, '')
  settle(underWay, handle, asked)
}

function* structuredReply(underWay: UnderWay): Script {
  const head = yield 16
  const isLast = (head.readUInt16BE(0) & replyFlag.done) !== 0
  const type = head.readUInt16BE(2)
  const length = head.readUInt32BE(12)
  const handle = handleIn(head, 4)
  const asked = found(underWay, handle)
  if (type === chunk.none) {
    if (!isLast || length !== 0) throw new NbdConfused('a chunk without content that is not the end')
  } else if (type === chunk.data && asked.kind === command.read) yield* dataChunk(asked, length)
  else if (type === chunk.hole && asked.kind === command.read) yield* holeChunk(asked, length)
  else if (type === chunk.blockStatus && asked.kind === command.blockStatus) yield* statusChunk(asked, length)
  else if (type >= chunk.firstError) yield* errorChunk(asked, length)
  else throw new NbdConfused(`a chunk of type ${type} in answer to ${describe(asked)}`)
  if (isLast) settle(underWay, handle, asked)
}

function* dataChunk(asked: Asked, length: number): Script {
  if (length < 9) throw new NbdConfused('a chunk of data without data')
  const from = Number((yield 8).readBigUInt64BE(0)) - asked.offset
  yield placeIn(asked, from, length - 8)
}

function* holeChunk(asked: Asked, length: number): Script {
  if (length !== 12) throw new NbdConfused('a hole of the wrong form')
  const hole = yield 12
  placeIn(asked, Number(hole.readBigUInt64BE(0)) - asked.offset, hole.readUInt32BE(8)).fill(0)
}

function placeIn(asked: Asked, from: number, length: number): Buffer {
  if (from < 0 || length === 0 || from + length > asked.length) throw new NbdConfused('data that was not asked for')
  asked.pieces.push({ from, to: from + length })
  return asked.into!.subarray(from, from + length)
}

function* statusChunk(asked: Asked, length: number): Script {
  if (length < 12 || length % 8 !== 4 || length > longestPayload) throw new NbdConfused('block status of the wrong form')
  const payload = yield length
  const context = payload.readUInt32BE(0)
  if (asked.statuses.has(context)) throw new NbdConfused('block status said twice')
  const statuses: Status[] = []
  let left = asked.length
  for (let at = 4; at < length && left > 0; at += 8) {
    const covered = Math.min(left, payload.readUInt32BE(at))
    if (covered === 0) throw new NbdConfused('an extent without length')
    statuses.push({ length: covered, status: payload.readUInt32BE(at + 4) })
    left -= covered
  }
  asked.statuses.set(context, statuses)
}

function* errorChunk(asked: Asked, length: number): Script {
  if (length < 6 || length > longestPayload) throw new NbdConfused('an error of the wrong form')
  const payload = yield length
  const said = payload.readUInt16BE(4)
  if (6 + said > length || said > longestMessage) throw new NbdConfused('an error whose message does not end')
  asked.error ??= new NbdRefused(describe(asked), payload.readUInt32BE(0), payload.toString('utf8', 6, 6 + said))
}

function settle(underWay: UnderWay, handle: number, asked: Asked): void {
  if (asked.error === null && asked.kind === command.read && !isWhole(asked)) throw new NbdConfused('a read with gaps')
  underWay.delete(handle)
  if (asked.error === null) asked.resolve()
  else asked.reject(asked.error)
}

function isWhole({ pieces, length }: Asked): boolean {
  let end = 0
  for (const { from, to } of pieces.length > 1 ? pieces.toSorted((a, b) => a.from - b.from) : pieces) {
    if (from !== end) return false
    end = to
  }
  return end === length
}

function found(underWay: UnderWay, handle: number): Asked {
  const asked = underWay.get(handle)
  if (asked === undefined) throw new NbdConfused('an answer to nothing that was asked')
  return asked
}

/** Our handles are small numbers. */
function handleIn(head: Buffer, at: number): number {
  return head.readUInt32BE(at) === 0 ? head.readUInt32BE(at + 4) : -1
}

function describe({ kind, offset, length }: Pick<Asked, 'kind' | 'offset' | 'length'>): string {
  const name = Object.entries(command).find(([, number]) => number === kind)?.[0] ?? String(kind)
  return `${name} of ${length} bytes at ${offset}`
}
