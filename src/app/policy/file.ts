import { readFile } from 'node:fs/promises'
import { parse } from 'yaml'
import { z } from 'zod'

const rules = z.record(z.string(), z.string()).nullable()

/** Overrides of the default rules: a YAML or JSON file of `name: rule`. An empty file overrides nothing. */
export async function readPolicyFile(path: string): Promise<Readonly<Record<string, string>>> {
  const content: unknown = parse(await readFile(path, 'utf8'))
  const read = rules.safeParse(content)
  if (!read.success) throw new Error(`The policy file ${path} must map rule names to rules: ${z.prettifyError(read.error)}`)
  return read.data ?? {}
}
