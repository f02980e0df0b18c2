import type { FastifyInstance } from 'fastify'
import { endpoints } from '../../../contract/index.ts'
import type { VaultView } from '../../../contract/vaults.ts'
import { listVaults, showVault, type VaultRow } from '../../app/views/vaults.ts'
import type { NativeNeeds } from './needs.ts'
import { serve } from './serve.ts'
import { moment } from './wire.ts'

export function vaultRoutes(app: FastifyInstance, needs: NativeNeeds): void {
  serve(app, endpoints.listVaults, async ({ caller }) => {
    const vaults = await listVaults(needs, caller)
    return { items: vaults.map(viewOf), next: null }
  })

  serve(app, endpoints.showVault, async ({ caller, params }) => viewOf(await showVault(needs, caller, params.vault)))
}

const viewOf = (row: VaultRow): VaultView => ({
  id: row.id,
  name: row.name,
  kind: row.kind,
  directory: row.place.directory,
  default: row.is_default,
  bytes_per_second: row.bytes_per_second,
  parallel: row.parallel,
  host_groups: row.host_groups,
  backups: row.backups ?? 0,
  stored_bytes: row.stored_bytes ?? 0,
  damaged_backups: row.damaged ?? 0,
  tested_at: moment(row.tested_at),
  test_problem: row.test_problem,
  created_at: row.created_at.toISOString(),
})
