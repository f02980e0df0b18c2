import { database } from '../../src/adapters/database/connect.ts'
import { forestOf } from '../../src/app/watchers/collector.ts'
import { planOf } from '../../src/app/watchers/merger.ts'
import { removableLayers } from '../../src/domain/layer-garbage.ts'

/**
 * Whether no operation runs, and collector and merger find nothing to do in the qcow2 pools: from here on only guests, and what
 * somebody asks for, change what lies there.
 */
export const isAtRest = (sql: Parameters<typeof database>[0]): Promise<boolean> =>
  database(sql)
    .transaction()
    .setIsolationLevel('repeatable read') // one moment
    .execute(async (tx) => {
      for (const { id } of await tx.selectFrom('pools').select('id').execute()) {
        if (removableLayers(await forestOf(tx, id)).length > 0) return false
        if ((await planOf(tx, { pointsPerLayer: 'one' }, id, {})).merges.length > 0) return false
      }
      const open = await tx.selectFrom('operations').select('id').where('ended_at', 'is', null).executeTakeFirst()
      const going = await tx.selectFrom('layers').select('id').where('state', '<>', 'present').executeTakeFirst()
      return open === undefined && going === undefined
    })
