/** The lines of QEMU's machine protocol, and how a stream is cut into them. */
import { z } from 'zod'

export const greeting = z.object({
  QMP: z.object({
    version: z.object({ qemu: z.object({ major: z.number(), minor: z.number(), micro: z.number() }), package: z.string() }),
  }),
})

export const reply = z.union([
  z.object({ return: z.unknown(), id: z.number() }),
  z.object({ error: z.object({ class: z.string(), desc: z.string() }), id: z.number().optional() }),
])

export const event = z.object({
  event: z.string(),
  data: z.record(z.string(), z.unknown()).default({}),
  timestamp: z.object({ seconds: z.number(), microseconds: z.number() }),
})

export type QmpEvent = z.infer<typeof event>
export type QmpReply = z.infer<typeof reply>

/** Calls `line` with each whole line that the chunks make up. Throws when a line does not end within so many characters. */
export function cutIntoLines(longestLine: number, line: (text: string) => void): (chunk: string) => void {
  let rest = ''
  return (chunk) => {
    const pieces = (rest + chunk).split('\n')
    rest = pieces.pop() ?? ''
    if (rest.length > longestLine) throw new Error('a line does not end')
    for (const piece of pieces) if (piece.trim() !== '') line(piece)
  }
}
