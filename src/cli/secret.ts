/** Secrets come from a file, from standard input or from the keyboard, unseen: never from the command line, which others can list. */
import { open, readFile, rm } from 'node:fs/promises'
import { createInterface } from 'node:readline/promises'
import { Writable } from 'node:stream'
import { usage } from './exit.ts'
import type { Terminal } from './session.ts'

const longest = 4096

/** `file`: `-` is standard input; undefined: asked for on a terminal, else standard input. */
export async function readSecret(terminal: Terminal, what: string, file: string | undefined): Promise<string> {
  const secret = (await given(terminal, what, file)).trim()
  if (secret === '') throw usage(`No ${what} was given. Type it, give it on standard input, or name a file with --key-file.`)
  return secret
}

async function given(terminal: Terminal, what: string, file: string | undefined): Promise<string> {
  if (file !== undefined && file !== '-') return await fromFile(file)
  return file === undefined && terminal.in.isTTY ? await typed(terminal, what) : await fromInput(terminal)
}

async function fromFile(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).slice(0, longest)
  } catch (error) {
    throw usage(`${file} cannot be read${reasonOf(error)}.`)
  }
}

async function fromInput({ in: input }: Terminal): Promise<string> {
  let text = ''
  for await (const chunk of input) {
    text += String(chunk)
    if (text.length > longest) break
  }
  return text
}

async function typed({ in: input, err, interrupted }: Terminal, what: string): Promise<string> {
  const unseen = new Writable({ write: (_chunk, _encoding, done) => done() })
  const asking = createInterface({ input, output: unseen, terminal: true })
  try {
    const answer = asking.question('', { signal: interrupted })
    err.write(`${what.replace(/^./, (letter) => letter.toUpperCase())} (it is not shown): `)
    return await answer
  } finally {
    asking.close()
    err.write('\n')
  }
}

/**
 * Makes a secret and puts it into a new file that only its owner reads, there when this returns also after a power cut. The file
 * comes first: what could not be kept is not made.
 */
export async function madeInto<Made>(file: string, secretOf: (made: Made) => string, make: () => Promise<Made>): Promise<Made> {
  const handle = await openNew(file)
  try {
    const made = await make().catch(async (error: unknown) => {
      await rm(file, { force: true })
      throw error
    })
    await handle.writeFile(`${secretOf(made)}\n`)
    await handle.sync()
    return made
  } finally {
    await handle.close()
  }
}

async function openNew(file: string) {
  try {
    return await open(file, 'wx', 0o600)
  } catch (error) {
    throw usage(`${file} cannot be made${reasonOf(error)}: give the name of a file that is not there yet.`)
  }
}

const reasonOf = (error: unknown): string => (error instanceof Error && 'code' in error ? ` (${String(error.code)})` : '')
