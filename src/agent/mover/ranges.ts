/** Stretches of a disk, in order and without overlaps. */
export type Range = { readonly from: number; readonly to: number }

/** What lies in any of the streams, as few ranges as possible. */
export async function* union(...streams: readonly AsyncIterable<Range>[]): AsyncGenerator<Range> {
  const iterators = streams.map((stream) => stream[Symbol.asyncIterator]())
  try {
    const heads = await Promise.all(iterators.map((one) => one.next()))
    let open: Range | null = null
    for (;;) {
      const first = firstOf(heads)
      const head = heads[first]
      if (head === undefined || head.done) break
      const { value } = head
      if (open !== null && value.from <= open.to) open = { from: open.from, to: Math.max(open.to, value.to) }
      else {
        if (open !== null) yield open
        open = value
      }
      heads[first] = await iterators[first]!.next()
    }
    if (open !== null) yield open
  } finally {
    await Promise.all(iterators.map(async (one) => one.return?.()))
  }
}

/** Which of the streams goes on with the least place. */
function firstOf(heads: readonly IteratorResult<Range>[]): number {
  const starts = heads.map((head) => (head.done ? Number.POSITIVE_INFINITY : head.value.from))
  return starts.indexOf(Math.min(...starts))
}
