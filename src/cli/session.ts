/** What every command has: the terminal, the options, and the server once it is asked for. */
import { createInterface } from 'node:readline/promises'
import { type Client, createClient } from '../../contract/client.ts'
import { type Environment, findCredentials } from './credentials.ts'
import { failed } from './exit.ts'
import { type SignedIn, signIn } from './identity.ts'
import { clean } from './output.ts'

export type Terminal = {
  readonly out: NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number }
  readonly err: NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number }
  readonly in: NodeJS.ReadableStream & { readonly isTTY?: boolean }
  readonly env: Environment
  /** Aborted by Ctrl-C. */
  readonly interrupted: AbortSignal
}

export type GlobalOptions = { readonly output: 'table' | 'json'; readonly osCloud?: string; readonly yes?: boolean }

export type Session = {
  readonly terminal: Terminal
  readonly json: boolean
  readonly client: Client
  /** Prints a result: the value as JSON, or what `draw` makes of it. */
  print<T>(value: T, draw: (value: T) => string): void
  /** Words beside the result. */
  say(line: string): void
  /** Asks on a terminal, for a yes or for a name to be typed; where nobody can be asked, the command was meant. */
  confirm(consequence: string, typed?: string): Promise<void>
}

export function openSession(terminal: Terminal, options: GlobalOptions): Session {
  const json = options.output === 'json'
  let signedIn: Promise<SignedIn> | undefined
  const enter = (renew: boolean) => {
    if (renew || !signedIn) signedIn = findCredentials(terminal.env, options.osCloud).then(signIn)
    return signedIn
  }
  const client = async () => {
    const { url } = await enter(false)
    return createClient({ url, token: async (renew) => (await enter(renew)).token })
  }
  const say = (line: string) => void terminal.err.write(`${line}\n`)
  return {
    terminal,
    json,
    say,
    client: {
      call: async (endpoint, request, how) => (await client()).call(endpoint, request, how),
      follow: async function* (endpoint, request, how) {
        yield* (await client()).follow(endpoint, request, how)
      },
    },
    print: (value, draw) => void terminal.out.write(`${json ? JSON.stringify(value, null, 2) : draw(value)}\n`),
    confirm: async (consequence, typed) => {
      if (options.yes || !terminal.in.isTTY || !terminal.err.isTTY) return
      if (!(await agreed(terminal, consequence, typed))) throw failed('declined', 'Nothing was done.')
    },
  }
}

async function agreed(terminal: Terminal, consequence: string, typed: string | undefined): Promise<boolean> {
  const asking = createInterface({ input: terminal.in, output: terminal.err })
  try {
    const question = typed ? `To go on, type ${clean(typed)}: ` : 'Go on? [y/N] '
    const answer = (await asking.question(`${consequence}\n${question}`, { signal: terminal.interrupted })).trim()
    return typed ? answer === typed : /^y(es)?$/i.test(answer)
  } finally {
    asking.close()
  }
}
