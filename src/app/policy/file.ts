import { readFile } from 'node:fs/promises'
import { parse } from 'yaml'
import { z } from 'zod'
import { refuse } from '../../domain/refusals.ts'

const rules = z.record(z.string(), z.string()).nullable()

/** Overrides of the default rules: a YAML or JSON file of `name: rule`. An empty file overrides nothing. */
export async function readPolicyFile(path: string): Promise<Readonly<Record<string, string>>> {
  try {
    const content: unknown = parse(await readFile(path, 'utf8'))
    const read = rules.safeParse(content)
    if (read.success) return read.data ?? {}
    throw new Error(`it must map names to rules, both text (${z.prettifyError(read.error)})`)
  } catch (error) {
    throw refuse.badPolicy({
      why: `the file ${path} was not understood, ${error instanceof Error ? error.message.trim() : error}`,
    })
  }
}
