/** From the first byte to the export that was asked for. */
import { exportFlag, handshakeFlag, info, magic, option, optionReply, usualMostBytes } from './constants.ts'
import { NbdConfused, NbdRefused } from './errors.ts'
import type { Script } from './script.ts'

export type Agreed = {
  readonly sizeBytes: number
  readonly readOnly: boolean
  readonly can: { readonly flush: boolean; readonly trim: boolean; readonly writeZeroes: boolean }
  readonly mostBytes: number
  /** The number that stands for a context in what the server says about blocks. */
  readonly contexts: ReadonlyMap<string, number>
}

/** Nothing that a server says here is nearly as long. */
const longestReply = 64 * 1024

type Reply = { readonly type: number; readonly data: Buffer }

/** Asks for the export with these metadata contexts; throws when the server does not have one of them. */
export function* handshake(send: (bytes: Buffer) => void, name: string, contexts: readonly string[]): Script<Agreed> {
  const start = yield 18
  if (start.readBigUInt64BE(0) !== magic.hello || start.readBigUInt64BE(8) !== magic.option)
    throw new NbdConfused('it does not begin as a newstyle server does')
  const flags = start.readUInt16BE(16)
  if ((flags & handshakeFlag.fixedNewstyle) === 0) throw new NbdConfused('it does not offer the fixed newstyle handshake')
  send(numbers([4, flags & (handshakeFlag.fixedNewstyle | handshakeFlag.noZeroes)]))

  send(optionBytes(option.structuredReply, Buffer.alloc(0)))
  yield* repliesTo(option.structuredReply)
  const ids = contexts.length === 0 ? new Map<string, number>() : yield* agreeOnContexts(send, name, contexts)
  send(optionBytes(option.go, Buffer.concat([sized(name), numbers([2, 1], [2, info.blockSize])])))
  return { ...readInfos(yield* repliesTo(option.go)), contexts: ids }
}

function* agreeOnContexts(
  send: (bytes: Buffer) => void,
  name: string,
  contexts: readonly string[],
): Script<ReadonlyMap<string, number>> {
  send(optionBytes(option.setMetaContext, Buffer.concat([sized(name), numbers([4, contexts.length]), ...contexts.map(sized)])))
  const replies = yield* repliesTo(option.setMetaContext)
  const ids = new Map<string, number>()
  for (const { type, data } of replies)
    if (type === optionReply.metaContext && data.length >= 4) ids.set(data.toString('utf8', 4), data.readUInt32BE(0))
  const missing = contexts.find((context) => !ids.has(context))
  if (missing !== undefined) throw new NbdConfused(`it has no ${missing}`)
  return ids
}

/** All replies to an option, up to the one that acknowledges it. */
function* repliesTo(asked: number): Script<readonly Reply[]> {
  const replies: Reply[] = []
  for (;;) {
    const head = yield 20
    if (head.readBigUInt64BE(0) !== magic.optionReply) throw new NbdConfused('a reply to an option does not begin as one')
    if (head.readUInt32BE(8) !== asked) throw new NbdConfused('it replied to an option that was not asked about')
    const type = head.readUInt32BE(12)
    const length = head.readUInt32BE(16)
    if (length > longestReply) throw new NbdConfused('a reply to an option does not end')
    const data = yield length
    if (type >= optionReply.firstError)
      throw new NbdRefused(`option ${asked}`, type - optionReply.firstError, data.toString('utf8'))
    if (type === optionReply.ack) return replies
    replies.push({ type, data })
  }
}

function readInfos(replies: readonly Reply[]): Omit<Agreed, 'contexts'> {
  const infos = replies.filter(({ type, data }) => type === optionReply.info && data.length >= 2)
  const of = (kind: number, length: number): Buffer | undefined =>
    infos.find(({ data }) => data.readUInt16BE(0) === kind && data.length >= length)?.data
  const about = of(info.export, 12)
  if (about === undefined) throw new NbdConfused('it did not describe its export')
  const size = about.readBigUInt64BE(2)
  if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw new NbdConfused('its export is absurdly large')
  const flags = about.readUInt16BE(10)
  const has = (flag: number): boolean => (flags & flag) !== 0
  return {
    sizeBytes: Number(size),
    readOnly: has(exportFlag.readOnly),
    can: { flush: has(exportFlag.flush), trim: has(exportFlag.trim), writeZeroes: has(exportFlag.writeZeroes) },
    mostBytes: of(info.blockSize, 14)?.readUInt32BE(10) ?? usualMostBytes,
  }
}

function optionBytes(kind: number, data: Buffer): Buffer {
  const head = Buffer.alloc(16)
  head.writeBigUInt64BE(magic.option, 0)
  head.writeUInt32BE(kind, 8)
  head.writeUInt32BE(data.length, 12)
  return Buffer.concat([head, data])
}

function sized(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8')
  return Buffer.concat([numbers([4, bytes.length]), bytes])
}

/** Unsigned numbers, each in so many bytes. */
function numbers(...all: readonly (readonly [bytes: 2 | 4, value: number])[]): Buffer {
  return Buffer.concat(
    all.map(([bytes, value]) => {
      const one = Buffer.alloc(bytes)
      one.writeUIntBE(value, 0, bytes)
      return one
    }),
  )
}
