/** Why a process of ours ended, from the end of its log. */
import { open } from 'node:fs/promises'
import { z } from 'zod'

const endBytes = 64 * 1024
const fatal = z.object({ level: z.literal(60), err: z.object({ message: z.string() }) })
/** What Node prints of an error that nobody caught. */
const uncaught = /^(?:Uncaught )?(?:\w*Error|Refusal|BadSetting)(?: \[\w+\])?: (.+)$/

/** The sentence of its last fatal line; null if it ended without a word. */
export async function lastWords(logFile: string): Promise<string | null> {
  for (const line of (await endOf(logFile)).split('\n').reverse()) {
    const said = fatal.safeParse(parsed(line))
    if (said.success) return said.data.err.message
    const [, message] = uncaught.exec(line) ?? []
    if (message !== undefined) return message
  }
  return null
}

async function endOf(file: string): Promise<string> {
  try {
    await using handle = await open(file, 'r')
    const { size } = await handle.stat()
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(endBytes), 0, endBytes, Math.max(0, size - endBytes))
    return buffer.toString('utf8', 0, bytesRead)
  } catch {
    return ''
  }
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return null
  }
}
