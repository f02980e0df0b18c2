import type { FastifyInstance } from 'fastify'
import { endpoints } from '../../../contract/index.ts'
import type { HostGroupView } from '../../../contract/vaults.ts'
import { type HostGroupRow, listHostGroups } from '../../app/views/vaults.ts'
import type { NativeNeeds } from './needs.ts'
import { serve } from './serve.ts'

export function hostGroupRoutes(app: FastifyInstance, needs: NativeNeeds): void {
  serve(app, endpoints.listHostGroups, async ({ caller }) => {
    const groups = await listHostGroups(needs, caller)
    return { items: groups.map(viewOf), next: null }
  })
}

const viewOf = (row: HostGroupRow): HostGroupView => ({
  id: row.id,
  name: row.name,
  vault: row.vault_id === null ? null : { id: row.vault_id, name: row.vault_name ?? '' },
  hosts: row.hosts,
  created_at: row.created_at.toISOString(),
})
