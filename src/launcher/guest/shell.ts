/** Asks a guest of ours over its `cmd` channel: one shell line in, what it printed and its exit code out. */
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { runDirectoryOf } from '../../agent/protocol.ts'
import type { InstanceId } from '../../domain/ids.ts'

export type Said = { readonly output: string; readonly code: number }
export type Shell = {
  /** Waits for a guest that is still booting. */
  readonly ask: (line: string, seconds?: number) => Promise<Said>
  /** What it printed; a rejection unless the line ends well. */
  readonly run: (line: string, seconds?: number) => Promise<string>
}

/** The guest may be emulated on a machine that does much else: it boots in three seconds or in sixty. */
const patienceSeconds = 120

export function guestShell(runDirectory: string, instance: InstanceId): Shell {
  const path = join(runDirectoryOf(runDirectory, instance), 'cmd')
  const ask = async (line: string, seconds = patienceSeconds): Promise<Said> => {
    const end = Date.now() + seconds * 1000
    for (;;) {
      try {
        return await exchange(path, line, end)
      } catch (error) {
        // Its machine is being started. A line that was sent is not sent again.
        if (!isNotThere(error) || Date.now() > end) throw error
        await sleep(100)
      }
    }
  }
  const run = async (line: string, seconds?: number): Promise<string> => {
    const { output, code } = await ask(line, seconds)
    if (code !== 0) throw new Error(`'${line}' ended with ${code} in the guest: ${output}`)
    return output
  }
  return { ask, run }
}

const isNotThere = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ECONNREFUSED')

/** An answer begins with the question's own mark: whatever an earlier, abandoned question left behind is passed over. */
async function exchange(path: string, line: string, end: number): Promise<Said> {
  const mark = `=ASK ${crypto.randomUUID()}`
  const answer = new RegExp(`${mark}\\r?\\n([\\s\\S]*?)=RC (\\d+)\\r?\\n`)
  const socket = createConnection(path)
  const late = () => socket.destroy(new Error(`the guest did not answer '${line}' in time`))
  const timer = setTimeout(late, Math.max(1, end - Date.now()))
  try {
    socket.write(`echo '${mark}'; ${line}\n`)
    let text = ''
    for await (const chunk of socket.setEncoding('utf8')) {
      text += chunk
      const found = answer.exec(text)
      if (found) return { output: (found[1] ?? '').trimEnd(), code: Number(found[2]) }
    }
    throw new Error(`the guest went away while it was asked '${line}'`)
  } finally {
    clearTimeout(timer)
    socket.destroy()
  }
}
