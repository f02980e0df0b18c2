/** Where a vault may lie: not where this host keeps other things, for one of the two would take the other for its own. */
import { isAbsolute, normalize } from 'node:path'
import { refuse } from '../../domain/refusals.ts'

/** `what`: said to whoever asks. */
export type Taken = { readonly directory: string; readonly what: string }

const isWithin = (directory: string, other: string): boolean => directory === other || directory.startsWith(`${other}/`)

/** `directory` with its links resolved, or as it was given. */
export function requireFreePlace(directory: string, taken: readonly Taken[]): void {
  const no = (why: string) => refuse.vaultPlaceRefused({ place: directory, why })
  if (!isAbsolute(directory)) throw no('its path must begin at the root')
  if (normalize(directory) !== directory || directory.endsWith('/') || directory.includes('\0'))
    throw no("its path must be written without '..', '.', doubled slashes and a slash at its end")
  for (const { directory: other, what } of taken) {
    if (isWithin(directory, other)) throw no(`it lies inside ${what}`)
    if (isWithin(other, directory)) throw no(`${what} lies inside it`)
  }
}
