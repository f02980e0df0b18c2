/**
 * Proof that a merge has copied everything, before its source goes. QEMU's merges were seen to name the new backing file
 * while tables that lead to copied clusters were missing, and its own check is silent about that. So the maps are compared:
 * every cluster that the source holds, the target must hold too, or both must read as zeros. That reads only metadata. Where
 * the maps leave a doubt (a cluster was not copied because it equals what lies below), the contents are compared whole.
 */
import type { Bytes } from '../../../domain/ids.ts'
import type { ToolResult } from './tool.ts'

/** One line of `qemu-img map`: `depth` 0 is the image itself. */
export type Extent = {
  readonly start: Bytes
  readonly length: Bytes
  readonly depth: number
  readonly present: boolean
  readonly zero: boolean
}

const holds = (extent: Extent): boolean => extent.depth === 0 && extent.present

/** Whether all that `source` holds itself is also held by `target`. Both maps lie in order and without gaps. */
export function coversAll(source: readonly Extent[], target: readonly Extent[]): boolean {
  let at = 0
  for (const needed of source) {
    if (!holds(needed)) continue
    const end = needed.start + needed.length
    while (at > 0 && (target[at]?.start ?? Infinity) > needed.start) at--
    for (; ; at++) {
      const extent = target[at]
      if (extent === undefined) return false
      if (extent.start + extent.length <= needed.start) continue
      if (extent.start >= end) break
      if (!holds(extent) && !(needed.zero && extent.zero)) return false
      if (extent.start + extent.length >= end) break
    }
  }
  return true
}

/** Reads zeros beyond its end, and hides what a larger image below has there: as if it held zeros. */
export const withEnd = (map: readonly Extent[], end: Bytes, upTo: Bytes): readonly Extent[] =>
  upTo > end ? [...map, { start: end, length: upTo - end, depth: 0, present: true, zero: true }] : map

export type Run = (args: readonly string[]) => Promise<ToolResult>

/** The image's map, or null if it cannot be had. */
export async function mapOf(run: Run, file: string): Promise<readonly Extent[] | null> {
  const result = await run(['map', '--output=json', '-f', 'qcow2', file])
  if (result.code !== 0) return null
  try {
    return JSON.parse(result.stdout)
  } catch {
    return null
  }
}

const image = (file: string, backing: object): string =>
  `json:${JSON.stringify({ driver: 'qcow2', file: { driver: 'file', filename: file }, backing })}`

/** Whether the image reads the same upon both backing files. */
export async function sameUpon(run: Run, file: string, one: string, other: string): Promise<boolean> {
  const upon = (name: string) => ({ driver: 'qcow2', file: { driver: 'file', filename: name } })
  const result = await run(['compare', '-q', image(file, upon(one)), image(file, upon(other))])
  return result.code === 0
}

/** Whether two images read the same. */
export async function sameContent(run: Run, one: string, other: string): Promise<boolean> {
  const result = await run(['compare', '-q', '-f', 'qcow2', '-F', 'qcow2', one, other])
  return result.code === 0
}
