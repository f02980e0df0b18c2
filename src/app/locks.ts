/** Lists of locks as operations take them; the order instance, volume, snapshot, image, layer, backup keeps them free of deadlocks. */
import type { Lock } from '../domain/operation.ts'

export const exclusive = (
  kind: 'instance' | 'volume' | 'snapshot' | 'image' | 'layer' | 'backup' | 'archive' | 'vault' | 'pool',
  ...ids: readonly string[]
): Lock[] => ids.map((id) => ({ resource: `${kind}:${id}`, mode: 'exclusive' }))

export const shared = (kind: 'snapshot' | 'image' | 'layer' | 'backup' | 'archive', ...ids: readonly string[]): Lock[] =>
  ids.map((id) => ({ resource: `${kind}:${id}`, mode: 'shared' }))
