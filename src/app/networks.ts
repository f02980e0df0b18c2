/** Reading networks and ports. Networks are everybody's, ports belong to their instance's project. */
import type { Selectable } from 'kysely'
import type { Db, Tables } from '../ports/tables.ts'
import type { Whose } from './reads.ts'

export type NetworkRow = Selectable<Tables['networks']>
export type PortDetail = Selectable<Tables['ports']> & { readonly subnet: string; readonly running: boolean }

export const listNetworks = (db: Db): Promise<NetworkRow[]> =>
  db.selectFrom('networks').selectAll().orderBy('created_at').execute()

export async function listPorts(db: Db, whose: Whose): Promise<PortDetail[]> {
  const rows = await db
    .selectFrom('ports')
    .innerJoin('networks', 'networks.id', 'ports.network_id')
    .leftJoin('instances', 'instances.id', 'ports.instance_id')
    .selectAll('ports')
    .select(['networks.subnet_id as subnet', 'instances.state as state'])
    .$if(whose !== null, (query) => query.where('ports.project_id', '=', whose ?? ('' as never)))
    .execute()
  return rows.map(({ state, ...port }) => ({ ...port, running: state === 'running' }))
}
