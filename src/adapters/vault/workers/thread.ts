/** A thread of a crew: takes jobs, gives results, and hands the buffers on instead of copying them. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { parentPort } from 'node:worker_threads'
import { blockBytes } from '../format/shape.ts'
import { doJob } from './crew.ts'
import type { Jobs } from './jobs.ts'

export type Order = { readonly number: number; readonly name: keyof Jobs; readonly job: Jobs[keyof Jobs][0] }
export type Answer =
  | { readonly number: number; readonly result: Jobs[keyof Jobs][1] }
  | { readonly number: number; readonly failure: string }

/** Buffers hardly show on V8's own heap: left to itself it lets 60 MiB of them gather. */
setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as (options: { type: 'minor' }) => void
const tidiedAfterBytes = 2 * 1024 * 1024
let bytes = 0

function tidyAfter(job: Jobs[keyof Jobs][0]): void {
  bytes += 'data' in job ? job.data.length : job.blocks.length * blockBytes
  if (bytes < tidiedAfterBytes) return
  bytes = 0
  collect({ type: 'minor' })
}

parentPort?.on('message', ({ number, name, job }: Order) => {
  try {
    const result = doJob(name, job)
    parentPort?.postMessage({ number, result } satisfies Answer, buffersOf(result))
  } catch (error) {
    parentPort?.postMessage({ number, failure: error instanceof Error ? (error.stack ?? error.message) : String(error) })
  }
  tidyAfter(job)
})

function buffersOf(result: Jobs[keyof Jobs][1]): ArrayBuffer[] {
  const buffers: ArrayBuffer[] = []
  for (const value of Object.values(result)) if (value instanceof Uint8Array) buffers.push(value.buffer as ArrayBuffer)
  return buffers
}
