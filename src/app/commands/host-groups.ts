/** Host groups: hosts that share a vault. */
import { type HostGroupId, isUuid, newId, type VaultId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type { Tx } from '../../ports/tables.ts'
import type { VaultCommands } from '../commands.ts'
import type { Needs } from '../needs.ts'

type Verbs = Pick<VaultCommands, 'createHostGroup' | 'changeHostGroup' | 'deleteHostGroup' | 'setHostGroup'>

export const hostGroupCommands = ({ db, allow }: Needs): Verbs => ({
  async createHostGroup(caller, { name, vault }) {
    allow(caller, 'comeback:host_groups:create', { project: caller.project })
    const group = newId<HostGroupId>()
    await db.transaction().execute(async (tx) => {
      if (vault) await requireVault(tx, vault)
      const made = await tx
        .insertInto('host_groups')
        .values({ id: group, name, vault_id: vault })
        .onConflict((conflict) => conflict.column('name').doNothing())
        .returning('id')
        .executeTakeFirst()
      if (!made) throw refuse.nameTaken({ what: 'Host group', name })
    })
    return { group }
  },

  async changeHostGroup(caller, id, { name, vault }) {
    allow(caller, 'comeback:host_groups:update', { project: caller.project })
    await db.transaction().execute(async (tx) => {
      if (vault) await requireVault(tx, vault)
      const before = await tx.selectFrom('host_groups').selectAll().where('id', '=', id).forUpdate().executeTakeFirst()
      if (!before) throw refuse.notFound({ what: 'Host group', id })
      const same =
        name === undefined
          ? undefined
          : await tx.selectFrom('host_groups').select('id').where('name', '=', name).where('id', '<>', id).executeTakeFirst()
      if (same) throw refuse.nameTaken({ what: 'Host group', name: name ?? '' })
      await tx
        .updateTable('host_groups')
        .set({ name: name ?? before.name, vault_id: vault === undefined ? before.vault_id : vault })
        .where('id', '=', id)
        .execute()
    })
  },

  async deleteHostGroup(caller, id) {
    allow(caller, 'comeback:host_groups:delete', { project: caller.project })
    await db.transaction().execute(async (tx) => {
      await tx.updateTable('hosts').set({ group_id: null }).where('group_id', '=', id).execute()
      const { numDeletedRows } = await tx.deleteFrom('host_groups').where('id', '=', id).executeTakeFirst()
      if (numDeletedRows !== 1n) throw refuse.notFound({ what: 'Host group', id })
    })
  },

  async setHostGroup(caller, host, group) {
    allow(caller, 'comeback:host_groups:update', { project: caller.project })
    await db.transaction().execute(async (tx) => {
      if (group) {
        const row = await tx.selectFrom('host_groups').select('id').where('id', '=', group).forKeyShare().executeTakeFirst()
        if (!row) throw refuse.notFound({ what: 'Host group', id: group })
      }
      const { numUpdatedRows } = await tx
        .updateTable('hosts')
        .set({ group_id: group })
        .where((row) => (isUuid(host) ? row('id', '=', host as never) : row('name', '=', host)))
        .executeTakeFirst()
      if (numUpdatedRows !== 1n) throw refuse.notFound({ what: 'Host', id: host })
    })
  },
})

async function requireVault(tx: Tx, id: VaultId): Promise<void> {
  const row = await tx.selectFrom('vaults').select('id').where('id', '=', id).forKeyShare().executeTakeFirst()
  if (!row) throw refuse.notFound({ what: 'Vault', id })
}
