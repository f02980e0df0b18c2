/** What a directory's errors mean for the vault in it. */
import { type Refusal, refuse } from '../../../domain/refusals.ts'

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''

export const isMissing = (error: unknown): boolean => codeOf(error) === 'ENOENT'

type Refused = (facts: { vault: string }) => Refusal

const gone = ['EIO', 'ESTALE', 'ENOTCONN', 'ENODEV', 'ENXIO', 'ETIMEDOUT', 'EHOSTDOWN', 'EHOSTUNREACH', 'ESHUTDOWN', 'ENOTDIR']

const meanings: ReadonlyMap<string, Refused> = new Map([
  ...['ENOSPC', 'EDQUOT'].map((code) => [code, refuse.vaultFull] as const),
  ...['EROFS', 'EACCES', 'EPERM'].map((code) => [code, refuse.vaultReadOnly] as const),
  ...gone.map((code) => [code, refuse.vaultUnreachable] as const),
])

/** In the product's words, where it has any for it. */
export const said = (error: unknown, vault: string): unknown => meanings.get(codeOf(error))?.({ vault }) ?? error
