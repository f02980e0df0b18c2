import type { Log } from '../../src/ports/log.ts'

export type Line = { readonly level: keyof Log; readonly facts: object; readonly message: string }

/** A log that keeps what was said, for tests. */
export function quietLog(): Log & { readonly lines: Line[] } {
  const lines: Line[] = []
  const at = (level: keyof Log) => (facts: object, message: string) => void lines.push({ level, facts, message })
  return { lines, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}
