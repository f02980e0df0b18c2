/** Minimum, median and maximum of several runs, in the unit they came in. */
export type Spread = { readonly min: number; readonly median: number; readonly max: number; readonly n: number }

export function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (index: number): number => sorted[index] ?? Number.NaN
  const middle = Math.floor(sorted.length / 2)
  const median = sorted.length % 2 === 1 ? at(middle) : (at(middle - 1) + at(middle)) / 2
  return { min: at(0), median, max: at(sorted.length - 1), n: sorted.length }
}

/** Seconds that it takes. */
export async function timed(run: () => Promise<unknown>): Promise<number> {
  const since = performance.now()
  await run()
  return (performance.now() - since) / 1000
}

const digits = (seconds: number): string =>
  seconds < 0.1 ? seconds.toFixed(4) : seconds < 10 ? seconds.toFixed(3) : seconds.toFixed(1)

export const show = ({ min, median, max }: Spread): string => `${digits(median)} (${digits(min)}–${digits(max)})`
