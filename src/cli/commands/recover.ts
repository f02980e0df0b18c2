import { recoveryResult } from '../../../contract/administration.ts'
import { endpoints } from '../../../contract/index.ts'
import type { OperationView } from '../../../contract/operations.ts'
import { type Adder, action, examples, type Waiting, waitable } from '../command.ts'
import { usage } from '../exit.ts'
import { clean, fields } from '../output.ts'
import { awaitEnd, mustBeDone } from '../progress.ts'
import type { Session } from '../session.ts'

export const recoverCommand: Adder = (program, terminal) => {
  waitable(program.command('recover'))
    .summary('bring the database forward to what the pools hold (administrators)')
    .description(
      'Brings the database forward to what the storage pools say of themselves, after it was lost or an older copy of it\n' +
        'restored: volumes, snapshots and heads. Nothing is deleted, and what is as new as its disk stays as it is.',
    )
    .option('--from-pools', 'read the pools (the one source there is)')
    .option('--pool <id...>', 'only these pools (see: comeback pools -o json)')
    .addHelpText('after', examples('recover --from-pools', 'recover --from-pools --yes -o json'))
    .action(action(terminal, recover))
}

type Options = Waiting & { readonly fromPools?: boolean; readonly pool?: string[] }

async function recover(session: Session, { fromPools, pool, wait }: Options): Promise<void> {
  if (!fromPools) throw usage('Say from what: comeback recover --from-pools')
  await session.confirm('The database will be brought forward to what the pools hold. Nothing is deleted.')
  const { operations } = await session.client.call(endpoints.recoverPools, { body: pool ? { pools: pool } : {} })
  if (!wait) return session.print({ operations }, () => operations.map((id) => `Accepted: ${id}`).join('\n'))
  const ended: OperationView[] = []
  for (const id of operations) ended.push(mustBeDone(await awaitEnd(session, { id, kind: 'recover-pool' })))
  session.print({ operations: ended }, () => ended.map(draw).join('\n\n'))
}

function draw({ id, result }: OperationView): string {
  const read = recoveryResult.safeParse(result)
  if (!read.success) return `Done: operation ${id}`
  const { volumes_added, volumes_moved, snapshots_added, problems } = read.data
  const counts = { 'volumes added': volumes_added, 'volumes moved forward': volumes_moved, 'snapshots added': snapshots_added }
  return [fields(counts), ...problems.map((problem) => `Left alone: ${clean(problem)}`)].join('\n')
}
