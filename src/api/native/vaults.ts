import type { FastifyInstance } from 'fastify'
import type { z } from 'zod'
import { endpoints } from '../../../contract/index.ts'
import type { VaultView } from '../../../contract/vaults.ts'
import type { VaultRequest } from '../../app/commands.ts'
import { listVaults, showVault, type VaultRow } from '../../app/views/vaults.ts'
import type { NativeNeeds } from './needs.ts'
import { serve, serveOperation } from './serve.ts'
import { moment } from './wire.ts'

export function vaultRoutes(app: FastifyInstance, needs: NativeNeeds): void {
  const { commands } = needs

  serve(app, endpoints.listVaults, async ({ caller }) => {
    const vaults = await listVaults(needs, caller)
    return { items: vaults.map(viewOf), next: null }
  })

  serve(app, endpoints.showVault, async ({ caller, params }) => viewOf(await showVault(needs, caller, params.vault)))

  serve(app, endpoints.createVault, async ({ caller, body, request, reply }) => {
    const { vault, recoveryKey } = await commands.createVault(caller, requestOf(body))
    request.audited.target = vault
    reply.header('cache-control', 'no-store')
    return { vault: viewOf(await showVault(needs, caller, vault)), recovery_key: recoveryKey }
  })

  serve(app, endpoints.addVault, async ({ caller, body, request }) => {
    const { vault } = await commands.addVault(caller, { ...requestOf(body), recoveryKey: body.recovery_key })
    request.audited.target = vault
    return viewOf(await showVault(needs, caller, vault))
  })

  serve(app, endpoints.changeVault, async ({ caller, params, body }) => {
    const { name, bytes_per_second, parallel, default: isDefault } = body
    await commands.changeVault(caller, params.vault, {
      ...(name === undefined ? {} : { name }),
      ...(bytes_per_second === undefined ? {} : { bytesPerSecond: bytes_per_second }),
      ...(parallel === undefined ? {} : { parallel }),
      ...(isDefault === undefined ? {} : { isDefault }),
    })
    return viewOf(await showVault(needs, caller, params.vault))
  })

  serve(app, endpoints.removeVault, async ({ caller, params }) => {
    await commands.removeVault(caller, params.vault)
    return {}
  })

  serve(app, endpoints.testVault, async ({ caller, params }) => {
    const { freeBytes, sharesDiskWith } = await commands.testVault(caller, params.vault)
    return { free_bytes: freeBytes, shares_disk_with: [...sharesDiskWith] }
  })

  serve(app, endpoints.newRecoveryKey, async ({ caller, params, body, reply }) => {
    const { recoveryKey } = await commands.newRecoveryKey(caller, params.vault, body)
    reply.header('cache-control', 'no-store')
    return { recovery_key: recoveryKey }
  })

  serveOperation(app, needs, endpoints.verifyVault, async ({ caller, params }) => commands.verifyVault(caller, params.vault))

  serveOperation(app, needs, endpoints.recoverVault, async ({ caller, params }) => commands.recoverVault(caller, params.vault))
}

const requestOf = (body: z.output<typeof endpoints.createVault.body>): VaultRequest => ({
  name: body.name,
  directory: body.directory,
  bytesPerSecond: body.bytes_per_second,
  parallel: body.parallel,
  isDefault: body.default,
})

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
