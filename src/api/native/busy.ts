import type { OperationId } from '../../domain/ids.ts'
import type { NativeNeeds } from './needs.ts'

export type Busy = (id: string) => { operation: OperationId; kind: string } | null

/** Which operation holds each of these. */
export async function busyWith(
  { operations }: Pick<NativeNeeds, 'operations'>,
  kind: 'instance' | 'volume',
  rows: readonly { readonly id: string }[],
): Promise<Busy> {
  if (rows.length === 0) return () => null
  const holders = await operations.holders(rows.map(({ id }) => `${kind}:${id}`))
  return (id) => {
    const holder = holders.get(`${kind}:${id}`)
    return holder ? { operation: holder.id, kind: holder.kind } : null
  }
}
