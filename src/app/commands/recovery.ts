/** Brings the database forward to what the pools say of themselves. */
import type { OperationId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type { RecoverPoolParams } from '../../sagas/recover-pool.ts'
import { originOf, partOf } from '../caller.ts'
import type { Commands } from '../commands.ts'
import { exclusive } from '../locks.ts'
import type { Needs } from '../needs.ts'

export const recoveryCommands = (needs: Needs): Pick<Commands, 'recoverPools'> => ({
  async recoverPools(caller, pools) {
    needs.allow(caller, 'comeback:recover', { project: caller.project })
    const known = (await needs.db.selectFrom('pools').select('id').execute()).map(({ id }) => id)
    const unknown = pools?.find((id) => !known.includes(id))
    if (unknown !== undefined) throw refuse.notFound({ what: 'Pool', id: unknown })
    const operations: OperationId[] = []
    for (const pool of pools ?? known) {
      const { id } = await needs.operations.begin<RecoverPoolParams>({
        kind: 'recover-pool',
        origin: originOf(partOf(caller, pool)),
        digestOf: { pool },
        plan: async (_tx, take) => {
          await take(exclusive('pool', pool))
          return { params: { pool }, instance: null }
        },
      })
      operations.push(id)
    }
    return { operations }
  },
})
