/**
 * Does the guest agent run a freeze hook? Only itself knows: its command line is read through it. One that was given a hook runs
 * it before every freeze, and fails the freeze when the hook is not there or fails; so a freeze that succeeds is proof.
 *
 * A hook named in the agent's configuration file is not counted: the file says what the next agent will do, not what this one
 * was started with.
 */
import { QmpRefused } from '../qmp/errors.ts'
import type { GuestTalk } from '../qmp/guest-agent.ts'

/** No command line is nearly as long. */
const longest = 65_536

/** Null: it runs one. Rejects when the agent does not answer within the time. */
export async function whyNoHooks(talk: GuestTalk, left: () => number): Promise<string | null> {
  let words: readonly string[]
  try {
    words = await commandLine(talk, left)
  } catch (error) {
    if (!(error instanceof QmpRefused)) throw error
    return 'File systems were frozen, but the guest agent does not let it be seen whether it runs a freeze hook.'
  }
  if (namesHook(words)) return null
  return 'File systems were frozen, but the guest agent runs no freeze hook: it was started without --fsfreeze-hook.'
}

/** In the forms that getopt knows: `-F`, `-F/path`, among other letters (`-dF`), `--fsfreeze-hook`, `--fsfreeze-hook=/path`. */
export function namesHook([, ...words]: readonly string[]): boolean {
  const end = words.indexOf('--')
  return words.slice(0, end < 0 ? words.length : end).some((word) => /^(-[dDhrvV]*F|--fsfreeze-hook(=|$))/.test(word))
}

async function commandLine(talk: GuestTalk, left: () => number): Promise<string[]> {
  const handle = await talk.ask('guest-file-open', { path: '/proc/self/cmdline', mode: 'r' }, left())
  try {
    const read = await talk.ask('guest-file-read', { handle, count: longest }, left())
    const text = typeof read === 'object' && read !== null && 'buf-b64' in read ? String(read['buf-b64']) : ''
    return Buffer.from(text, 'base64').toString('utf8').split('\0')
  } finally {
    await talk.ask('guest-file-close', { handle }, left())
  }
}
