/**
 * What agent and mover say to each other, one JSON text a line: a job on the mover's standard input, and on its standard output
 * how far it is, then how it ended. Keys cross here and nowhere else.
 */
import { z } from 'zod'
import { isRefusalKind, type MoverCall, moverCalls } from '../protocol.ts'
import { bytes } from '../wire/schemas.ts'
import { moveProgress } from '../wire/vault.ts'

const served = z.strictObject({ export: z.string(), above: z.number().int().nonnegative() })

export const job = z.strictObject({
  call: z.string().refine((name): name is MoverCall => Object.hasOwn(moverCalls, name)),
  /** As they came from the controller. */
  args: z.array(z.unknown()),
  source: z
    .strictObject({ socket: z.string(), sizeBytes: bytes, to: served, from: served.nullable(), whyNot: z.string().nullable() })
    .nullable(),
  target: z.strictObject({ socket: z.string(), export: z.string(), pool: z.string() }).nullable(),
  /** Directories of this host, of which no vault may be part, nor they of it. `device`: what `stat` calls the file system of a pool. */
  taken: z.array(z.strictObject({ directory: z.string(), what: z.string(), pool: z.string().nullable() })),
})

export type Job = z.infer<typeof job>

export const said = z.union([
  z.strictObject({ progress: moveProgress }),
  z.strictObject({
    refused: z.strictObject({
      code: z.string(),
      kind: z.string().refine(isRefusalKind),
      message: z.string(),
      facts: z.record(z.string(), z.unknown()),
    }),
  }),
  /** A defect; what it is was written to standard error. */
  z.strictObject({ failed: z.literal(true) }),
  z.strictObject({ done: z.unknown().optional() }),
])

export type Said = z.infer<typeof said>
