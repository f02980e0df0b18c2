import { Option } from 'commander'
import { recoveryResult } from '../../../contract/administration.ts'
import { endpoints } from '../../../contract/index.ts'
import type { OperationView } from '../../../contract/operations.ts'
import { vaultRecoveryResult } from '../../../contract/vaults.ts'
import { type Adder, action, examples, type Waiting, waitable } from '../command.ts'
import { usage } from '../exit.ts'
import { findVault } from '../find.ts'
import { clean, fields } from '../output.ts'
import { awaitEnd, mustBeDone } from '../progress.ts'
import type { Session } from '../session.ts'

export const recoverCommand: Adder = (program, terminal) => {
  waitable(program.command('recover'))
    .summary('bring the database forward to what pools or a vault hold (administrators)')
    .description(
      'Brings the database forward to what the storage pools say of themselves, after it was lost or an older copy of it\n' +
        'restored: volumes, snapshots and heads; or to what a vault says of itself: backups. Nothing is deleted, and what is as\n' +
        'new as its disk stays as it is.',
    )
    .option('--from-pools', 'read the pools')
    .option('--pool <id...>', 'only these pools (see: comeback pools -o json)')
    .addOption(
      new Option('--from-vault <vault>', 'list the backups that this vault holds; before that: comeback vault add').conflicts([
        'fromPools',
        'pool',
      ]),
    )
    .addHelpText('after', examples('recover --from-pools', 'recover --from-pools --yes -o json', 'recover --from-vault main'))
    .action(action(terminal, recover))
}

type Options = Waiting & { readonly fromPools?: boolean; readonly fromVault?: string; readonly pool?: string[] }

async function recover(session: Session, { fromPools, fromVault, pool, wait }: Options): Promise<void> {
  if (fromVault !== undefined) return await recoverVault(session, fromVault, wait)
  if (!fromPools) throw usage('Say from what: comeback recover --from-pools, or comeback recover --from-vault <vault>')
  await session.confirm('The database will be brought forward to what the pools hold. Nothing is deleted.')
  const { operations } = await session.client.call(endpoints.recoverPools, { body: pool ? { pools: pool } : {} })
  if (!wait) return session.print({ operations }, () => operations.map((id) => `Accepted: ${id}`).join('\n'))
  const ended: OperationView[] = []
  for (const id of operations) ended.push(mustBeDone(await awaitEnd(session, { id, kind: 'recover-pool' })))
  session.print({ operations: ended }, () => ended.map(draw).join('\n\n'))
}

async function recoverVault(session: Session, name: string, wait: boolean): Promise<void> {
  const { id: vault } = await findVault(session, name)
  const begun = await session.client.call(endpoints.recoverVault, { params: { vault } })
  if (!wait) return session.print(begun, ({ operation }) => `Accepted: ${operation.id}`)
  const operation = mustBeDone(await awaitEnd(session, begun.operation))
  const { backups_added, backups_mended, problems } = vaultRecoveryResult.parse(operation.result)
  session.print(operation, () =>
    [
      fields({ 'backups added': backups_added, 'backups mended': backups_mended }),
      ...problems.map((problem) => `Left alone: ${clean(problem)}`),
    ].join('\n'),
  )
}

function draw({ id, result }: OperationView): string {
  const read = recoveryResult.safeParse(result)
  if (!read.success) return `Done: operation ${id}`
  const { volumes_added, volumes_moved, snapshots_added, problems } = read.data
  const counts = { 'volumes added': volumes_added, 'volumes moved forward': volumes_moved, 'snapshots added': snapshots_added }
  return [fields(counts), ...problems.map((problem) => `Left alone: ${clean(problem)}`)].join('\n')
}
