import type { FastifyInstance } from 'fastify'
import { endpoints } from '../../../contract/index.ts'
import type { HostGroupView } from '../../../contract/vaults.ts'
import { type HostGroupRow, listHostGroups, showHostGroup } from '../../app/views/vaults.ts'
import type { NativeNeeds } from './needs.ts'
import { serve } from './serve.ts'

export function hostGroupRoutes(app: FastifyInstance, needs: NativeNeeds): void {
  const { commands } = needs

  serve(app, endpoints.listHostGroups, async ({ caller }) => {
    const groups = await listHostGroups(needs, caller)
    return { items: groups.map(viewOf), next: null }
  })

  serve(app, endpoints.createHostGroup, async ({ caller, body, request }) => {
    const { group } = await commands.createHostGroup(caller, body)
    request.audited.target = group
    return viewOf(await showHostGroup(needs, caller, group))
  })

  serve(app, endpoints.changeHostGroup, async ({ caller, params, body: { name, vault } }) => {
    const changes = { ...(name === undefined ? {} : { name }), ...(vault === undefined ? {} : { vault }) }
    await commands.changeHostGroup(caller, params.group, changes)
    return viewOf(await showHostGroup(needs, caller, params.group))
  })

  serve(app, endpoints.deleteHostGroup, async ({ caller, params }) => {
    await commands.deleteHostGroup(caller, params.group)
    return {}
  })

  serve(app, endpoints.changeHost, async ({ caller, params, body }) => {
    await commands.setHostGroup(caller, params.host, body.group)
    return {}
  })
}

const viewOf = (row: HostGroupRow): HostGroupView => ({
  id: row.id,
  name: row.name,
  vault: row.vault_id === null ? null : { id: row.vault_id, name: row.vault_name ?? '' },
  hosts: row.hosts,
  created_at: row.created_at.toISOString(),
})
