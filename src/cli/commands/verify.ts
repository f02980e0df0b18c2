import { endpoints } from '../../../contract/index.ts'
import { type VaultView, verificationResult } from '../../../contract/vaults.ts'
import { failed } from '../exit.ts'
import { clean, size } from '../output.ts'
import { awaitEnd, mustBeDone } from '../progress.ts'
import type { Session } from '../session.ts'

/** Damage is a failure of the command, not of the operation: it did what it was asked for. */
export async function verify(session: Session, { id: vault, name }: VaultView, wait: boolean): Promise<void> {
  const begun = await session.client.call(endpoints.verifyVault, { params: { vault } })
  if (!wait) return session.print(begun, ({ operation }) => `Accepted: operation ${operation.id}`)
  const operation = mustBeDone(await awaitEnd(session, begun.operation))
  const { backups, read_bytes, damage } = verificationResult.parse(operation.result)
  const lines = damage.map(({ object, what, backups: hurt }) => {
    const whom =
      hurt.length === 0 ? 'no backup needs it' : hurt.map(({ backup, volume }) => `${backup} (of volume ${volume})`).join(', ')
    return `Damaged: ${clean(object)}: ${clean(what)}: ${whom}`
  })
  session.print(operation, () =>
    [`${backups} backup${backups === 1 ? '' : 's'} proved, ${size(read_bytes)} read.`, ...lines].join('\n'),
  )
  if (damage.length > 0)
    throw failed('vaultDamaged', `Vault ${clean(name)} is damaged in ${damage.length} place${damage.length === 1 ? '' : 's'}.`)
}
