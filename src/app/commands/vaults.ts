/** Vaults, for administrators. Keys pass through here: they are sealed before they are stored, answered once, and never logged. */
import { newId, type OperationId, type VaultId } from '../../domain/ids.ts'
import { Refusal, refuse } from '../../domain/refusals.ts'
import type { VaultAccess } from '../../ports/vault-mover.ts'
import { accessOf } from '../../sagas/parts/vault.ts'
import type { RecoverVaultParams } from '../../sagas/recover-vault.ts'
import type { VerifyVaultParams } from '../../sagas/verify-vault.ts'
import { originOf } from '../caller.ts'
import type { VaultCommands } from '../commands.ts'
import { exclusive, shared } from '../locks.ts'
import type { Needs } from '../needs.ts'
import { moverHost } from '../vault-choice.ts'
import { changeVaultRow, forgetVaultRow, insertVaultRow, removeVaultRow, settleDefault } from '../vault-rows.ts'

type Verbs = Omit<VaultCommands, 'createHostGroup' | 'changeHostGroup' | 'deleteHostGroup' | 'setHostGroup'>

export const vaultCommands = (needs: Needs): Verbs => ({
  async createVault(caller, request) {
    needs.allow(caller, 'comeback:vaults:create', { project: caller.project })
    const vault = newId<VaultId>()
    const { newDataKey, newRecoveryKey } = needs.vaultKeys
    const key = newDataKey()
    const { recoveryKey, slot } = newRecoveryKey(key)
    const mover = await moverFor(needs)
    const createdAt = await insertVaultRow(needs, vault, request, key)
    try {
      const identity = { format: 1, vault, name: request.name, createdAt: createdAt.toISOString(), slots: [slot] } as const
      await mover.makeVault(await accessOf(needs, vault), identity)
    } catch (error) {
      await forgetVaultRow(needs.db, vault)
      throw error
    }
    await settleDefault(needs.db, vault, request.isDefault)
    return { vault, recoveryKey }
  },

  async addVault(caller, request) {
    needs.allow(caller, 'comeback:vaults:create', { project: caller.project })
    const mover = await moverFor(needs)
    const identity = await mover.readIdentity({ kind: 'directory', directory: request.directory })
    if (!identity) throw refuse.notFound({ what: 'Vault in', id: request.directory })
    const key = needs.vaultKeys.recover(request.recoveryKey, identity.slots)
    const { bytesPerSecond, parallel } = request
    const place = { kind: 'directory', directory: request.directory } as const
    const access: VaultAccess = { vault: identity.vault, place, key: key.toString('base64'), bytesPerSecond, parallel }
    await mover.testVault(access)
    await insertVaultRow(needs, identity.vault, request, key)
    await settleDefault(needs.db, identity.vault, request.isDefault)
    return { vault: identity.vault }
  },

  async changeVault(caller, vault, changes) {
    needs.allow(caller, 'comeback:vaults:update', { project: caller.project })
    await changeVaultRow(needs.db, vault, changes)
  },

  async removeVault(caller, vault) {
    needs.allow(caller, 'comeback:vaults:delete', { project: caller.project })
    await removeVaultRow(needs.db, vault)
  },

  async testVault(caller, vault) {
    needs.allow(caller, 'comeback:vaults:test', { project: caller.project })
    const access = await accessOf(needs, vault)
    const mover = await moverFor(needs, vault)
    const note = (problem: string | null) =>
      needs.db.updateTable('vaults').set({ tested_at: new Date(), test_problem: problem }).where('id', '=', vault).execute()
    try {
      const outcome = await mover.testVault(access)
      await note(null)
      return outcome
    } catch (error) {
      if (error instanceof Refusal) await note(error.message)
      throw error
    }
  },

  async newRecoveryKey(caller, vault, { replace }) {
    needs.allow(caller, 'comeback:vaults:keys', { project: caller.project })
    const access = await accessOf(needs, vault)
    const mover = await moverFor(needs, vault)
    const { recoveryKey, slot } = needs.vaultKeys.newRecoveryKey(Buffer.from(access.key, 'base64'))
    // One after another: a slot that is added meanwhile must not be lost.
    await needs.db.transaction().execute(async (tx) => {
      const row = await tx.selectFrom('vaults').select('name').where('id', '=', vault).forUpdate().executeTakeFirstOrThrow()
      const identity = await mover.readIdentity(access.place)
      if (identity?.vault !== vault) throw refuse.vaultUnreachable({ vault: row.name })
      await mover.writeSlots(access, replace ? [slot] : [...identity.slots, slot])
    })
    return { recoveryKey }
  },

  async verifyVault(caller, vault) {
    needs.allow(caller, 'comeback:vaults:verify', { project: caller.project })
    const { id: operation } = await needs.operations.begin<VerifyVaultParams>({
      kind: 'verify-vault',
      origin: originOf(caller),
      digestOf: { vault },
      plan: async (tx, take) => {
        await requireVault(tx, vault)
        const rows = await tx
          .selectFrom('backups')
          .select('volume_id')
          .distinct()
          .where('vault_id', '=', vault)
          .where('state', '=', 'available')
          .orderBy('volume_id')
          .execute()
        const volumes = rows.map(({ volume_id }) => volume_id)
        await take([...shared('archive', ...volumes), ...exclusive('vault', vault)])
        return { params: { vault, volumes, host: await hostFor(needs, vault) }, instance: null }
      },
    })
    return { operation }
  },

  async recoverVault(caller, vault) {
    needs.allow(caller, 'comeback:vaults:recover', { project: caller.project })
    const { id: operation } = await needs.operations.begin<RecoverVaultParams>({
      kind: 'recover-vault',
      origin: originOf(caller),
      digestOf: { vault },
      plan: async (tx, take) => {
        await requireVault(tx, vault)
        await take(exclusive('vault', vault))
        return { params: { vault, host: await hostFor(needs, vault) }, instance: null }
      },
    })
    return { operation }
  },
})

const hostFor = ({ db, settings }: Needs, vault?: VaultId) =>
  moverHost(db, { ...(vault ? { vault } : {}), silentSeconds: settings.hostSilentSeconds })

/** Calls that are no operation's: each is its own owner, so that it ends nobody else's. */
async function moverFor(needs: Needs, vault?: VaultId) {
  return await needs.mover(await hostFor(needs, vault), newId<OperationId>())
}

async function requireVault(db: Parameters<typeof moverHost>[0], id: VaultId): Promise<void> {
  const row = await db.selectFrom('vaults').select('id').where('id', '=', id).executeTakeFirst()
  if (!row) throw refuse.notFound({ what: 'Vault', id })
}
