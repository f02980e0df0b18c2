/** A thread of a crew: takes jobs, gives results, and hands the buffers on instead of copying them. */
import { parentPort } from 'node:worker_threads'
import { doJob } from './crew.ts'
import type { Jobs } from './jobs.ts'

export type Order = { readonly number: number; readonly name: keyof Jobs; readonly job: Jobs[keyof Jobs][0] }
export type Answer =
  | { readonly number: number; readonly result: Jobs[keyof Jobs][1] }
  | { readonly number: number; readonly failure: string }

parentPort?.on('message', ({ number, name, job }: Order) => {
  try {
    const result = doJob(name, job)
    parentPort?.postMessage({ number, result } satisfies Answer, buffersOf(result))
  } catch (error) {
    parentPort?.postMessage({ number, failure: error instanceof Error ? (error.stack ?? error.message) : String(error) })
  }
})

function buffersOf(result: Jobs[keyof Jobs][1]): ArrayBuffer[] {
  const buffers: ArrayBuffer[] = []
  for (const value of Object.values(result)) if (value instanceof Uint8Array) buffers.push(value.buffer as ArrayBuffer)
  return buffers
}
