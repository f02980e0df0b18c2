/** Numbers of the NBD protocol (fixed newstyle, structured replies): NetworkBlockDevice/nbd doc/proto.md. All big-endian. */

export const magic = {
  hello: 0x4e42444d41474943n, // "NBDMAGIC"
  option: 0x49484156454f5054n, // "IHAVEOPT"
  optionReply: 0x3e889045565a9n,
  request: 0x25609513,
  simpleReply: 0x67446698,
  structuredReply: 0x668e33ef,
} as const

export const handshakeFlag = { fixedNewstyle: 1, noZeroes: 2 } as const

export const option = { abort: 2, go: 7, structuredReply: 8, setMetaContext: 10 } as const

export const optionReply = { ack: 1, info: 3, metaContext: 4, firstError: 0x80000000 } as const

export const info = { export: 0, blockSize: 3 } as const

export const exportFlag = { readOnly: 2, flush: 4, trim: 32, writeZeroes: 64 } as const

export const command = { read: 0, write: 1, disconnect: 2, flush: 3, trim: 4, writeZeroes: 6, blockStatus: 7 } as const

export const chunk = { none: 0, data: 1, hole: 2, blockStatus: 5, firstError: 0x8000 } as const

export const replyFlag = { done: 1 } as const

/** What `base:allocation` says of an extent. */
export const allocation = { hole: 1, zero: 2 } as const

export const errno = { EIO: 5, EINVAL: 22, ENOSPC: 28 } as const

/** What a server accepts at once when it does not say otherwise. */
export const usualMostBytes = 32 * 1024 * 1024
