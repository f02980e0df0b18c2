/** Joins commander to the commands: each action gets a session and its own options. */
import { type Command, InvalidArgumentError } from 'commander'
import { type GlobalOptions, openSession, type Session, type Terminal } from './session.ts'

/** Adds the commands of one noun. */
export type Adder = (program: Command, terminal: Terminal) => void

export function action<Arguments extends unknown[], Options>(
  terminal: Terminal,
  run: (session: Session, options: Options, ...given: Arguments) => Promise<void>,
) {
  return async (...given: unknown[]): Promise<void> => {
    const command = given.at(-1) as Command
    const options = command.optsWithGlobals<GlobalOptions & Options>()
    await run(openSession(terminal, options), options, ...(given.slice(0, -2) as Arguments))
  }
}

export const examples = (...lines: readonly string[]): string =>
  `\nExamples:\n${lines.map((line) => `  $ comeback ${line}`).join('\n')}`

export const several = (value: string, before: readonly string[] | undefined): string[] => [...(before ?? []), value]

export function count(text: string): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) throw new InvalidArgumentError('It must be a whole number.')
  return value
}

const unitSeconds = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 } as const

/** `90s`, `15m`, `12h`, `7d`, `2w`. */
export function age(text: string): number {
  const [, amount, unit] = /^(\d{1,9})([smhdw])$/.exec(text) ?? []
  if (amount === undefined) throw new InvalidArgumentError('It must be a number with a unit, such as 90s, 15m, 12h, 7d or 2w.')
  return Number(amount) * unitSeconds[unit as keyof typeof unitSeconds]
}

const unitBytes = { '': 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 } as const

/** `20GiB`, `512MiB`, `1T`; a bare number is bytes. */
export function bytes(text: string): number {
  const [, amount, unit] = /^(\d{1,12})\s*([KMGT]?)(?:i?B)?$/i.exec(text) ?? []
  const value = Number(amount) * unitBytes[(unit ?? '').toUpperCase() as keyof typeof unitBytes]
  if (amount === undefined || !Number.isSafeInteger(value))
    throw new InvalidArgumentError('It must be a number with a unit, such as 512MiB or 20GiB.')
  return value
}

export type Waiting = { readonly wait: boolean }

export const waitable = (command: Command): Command =>
  command.option('--wait', 'wait for the end', true).option('--no-wait', 'return as soon as it is accepted')
