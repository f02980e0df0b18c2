/** What is printed: tables for people, JSON for programs. Names from the server cannot steer the terminal. */
import Table from 'cli-table3'
import { titleOf } from '../domain/operation.ts'

const steering = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu

export const clean = (text: string): string => text.replace(steering, '\ufffd')

const none = Object.fromEntries(
  ['top', 'bottom', 'left', 'right', 'mid', 'middle']
    .flatMap((side) => (side === 'mid' || side === 'middle' ? [side] : [side, `${side}-mid`, `${side}-left`, `${side}-right`]))
    .concat(['left-mid', 'mid-mid', 'right-mid'])
    .map((name) => [name, '']),
)

export type Cell = string | number | boolean | null | undefined

/** Columns under headings, without borders: easy to read, and to cut apart. */
export function table(headings: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const drawn = new Table({
    head: headings.map((heading) => heading.toUpperCase()),
    chars: none,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 },
  })
  for (const row of rows) drawn.push(row.map((cell) => clean(String(cell ?? '-'))))
  return trimmed(drawn.toString())
}

/** One thing, a line a field. */
export function fields(pairs: Readonly<Record<string, Cell>>): string {
  const drawn = new Table({ chars: none, style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 } })
  for (const [name, value] of Object.entries(pairs)) drawn.push([name, clean(String(value ?? '-'))])
  return trimmed(drawn.toString())
}

const trimmed = (text: string) =>
  text
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n')

/** The kind of an operation as people call it. */
export const doing = (kind: string): string => clean(titleOf(kind))

const two = (number: number) => String(number).padStart(2, '0')

/** Local time, to the second. */
export function when(iso: string | null): string {
  if (iso === null) return '-'
  const at = new Date(iso)
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`
}

export function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']
  const power = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10))
  const value = bytes / 1024 ** power
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[power]}`
}

export const duration = (seconds: number): string => {
  if (seconds < 10) return `${seconds.toFixed(2)} s`
  return seconds < 120 ? `${seconds.toFixed(0)} s` : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`
}
