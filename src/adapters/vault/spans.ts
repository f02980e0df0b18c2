/** Extents of a disk as whole blocks: what a backup goes through. */
import type { Bytes } from '../../domain/ids.ts'
import type { Extent } from '../../ports/blocks.ts'
import { blockBytes, blocksOf, fanOut } from './format/shape.ts'

/** Blocks from `first` up to, but not including, `end`. */
export type Span = { readonly first: number; readonly end: number; readonly kind: Extent['kind'] }

/**
 * In order, without overlaps. A block of which any part is data is data, and so is one of which only a part is told: the rest
 * has to be read.
 */
export async function* spansOf(extents: AsyncIterable<Extent>, sizeBytes: Bytes): AsyncGenerator<Span> {
  let done = 0
  const upTo = function* (first: number, end: number, kind: Extent['kind']): Generator<Span> {
    const from = Math.max(first, done)
    if (end <= from) return
    done = end
    yield { first: from, end, kind }
  }
  for await (const { offset, length, kind } of joined(extents)) {
    const last = offset + length
    const outer = { first: Math.floor(offset / blockBytes), end: Math.min(Math.ceil(last / blockBytes), blocksOf(sizeBytes)) }
    const inner = {
      first: Math.ceil(offset / blockBytes),
      end: last >= sizeBytes ? outer.end : Math.floor(last / blockBytes),
    }
    if (kind === 'data' || inner.first >= inner.end) yield* upTo(outer.first, outer.end, 'data')
    else {
      yield* upTo(outer.first, inner.first, 'data')
      yield* upTo(inner.first, inner.end, 'zero')
      yield* upTo(inner.end, outer.end, 'data')
    }
  }
}

/** Neighbours of one kind as one. */
async function* joined(extents: AsyncIterable<Extent>): AsyncGenerator<Extent> {
  let last: Extent | undefined
  for await (const next of extents) {
    if (next.length <= 0) continue
    if (last !== undefined && last.kind === next.kind && last.offset + last.length === next.offset)
      last = { ...last, length: last.length + next.length }
    else {
      if (last !== undefined) yield last
      last = next
    }
  }
  if (last !== undefined) yield last
}

/** What is to be done: a leaf page of which some blocks are told, or a whole page of the level that is zeros from now on. */
export type Task =
  | { readonly kind: 'leaf'; readonly position: number; readonly spans: readonly Span[] }
  | { readonly kind: 'zero'; readonly level: number; readonly position: number }

/** Tasks in ascending order. `depth`: of the highest page that may become zeros as a whole. */
export async function* tasksOf(spans: AsyncIterable<Span>, depth: number): AsyncGenerator<Task> {
  let leaf: { readonly kind: 'leaf'; readonly position: number; readonly spans: Span[] } | undefined
  for await (const { first, end, kind } of spans)
    for (let at = first; at < end; ) {
      const level = kind === 'zero' ? wholePageAt(at, end, depth) : 0
      const position = Math.floor(at / fanOut ** Math.max(level, 1))
      if (leaf !== undefined && (level > 0 || leaf.position !== position)) {
        yield leaf
        leaf = undefined
      }
      const stop = level > 0 ? at + fanOut ** level : Math.min(end, (position + 1) * fanOut)
      if (level > 0) yield { kind: 'zero', level, position }
      else {
        leaf ??= { kind: 'leaf', position, spans: [] }
        leaf.spans.push({ first: at, end: stop, kind })
      }
      at = stop
    }
  if (leaf !== undefined) yield leaf
}

/** The level of the largest page that begins at the block and ends by `end`; 0: none does. */
function wholePageAt(first: number, end: number, depth: number): number {
  let level = 0
  while (level < depth && first % fanOut ** (level + 1) === 0 && first + fanOut ** (level + 1) <= end) level++
  return level
}
