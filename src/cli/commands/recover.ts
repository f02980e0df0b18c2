import { type Adder, action, examples } from '../command.ts'
import { usage } from '../exit.ts'
import { table } from '../output.ts'
import type { Session } from '../session.ts'

/** What was found in the pools and made of it. */
export type Recovered = {
  readonly volumes: number
  readonly snapshots: number
  readonly layers: number
  /** Names in the pools that are none of ours, or could not be read; nothing was done to them. */
  readonly leftAlone: readonly string[]
}

/** Rebuilds the database's catalogue from what the pools say of themselves. Works on the box itself, with the controller stopped. */
export type Recover = (options: {
  readonly state: string | undefined
  readonly dryRun: boolean
  readonly say: (line: string) => void
  readonly signal: AbortSignal
}) => Promise<Recovered>

type Options = { readonly fromPools?: boolean; readonly dryRun?: boolean; readonly state?: string }

export const recoverCommand =
  (recover: Recover): Adder =>
  (program, terminal) => {
    program
      .command('recover')
      .summary('rebuild the catalogue from the storage pools')
      .description(
        'Rebuilds volumes, snapshots and heads from what the storage pools say of themselves, after the database was lost or\n' +
          'restored from an old dump. Run it on the machine itself, with Comeback stopped (npm run down). Deletes nothing.',
      )
      .option('--from-pools', 'read the pools (the one source there is)')
      .option('--dry-run', 'say what would be done, and do nothing')
      .option('--state <directory>', 'state directory (default: COMEBACK_STATE, else ./.comeback)')
      .addHelpText('after', examples('recover --from-pools --dry-run', 'recover --from-pools --yes'))
      .action(action(terminal, (session: Session, options: Options) => run(session, options, recover)))
  }

async function run(session: Session, { fromPools, dryRun, state }: Options, recover: Recover): Promise<void> {
  if (!fromPools) throw usage('Say from what: comeback recover --from-pools')
  if (!dryRun)
    await session.confirm("The database's catalogue will be made to agree with the pools. Nothing in the pools is deleted.")
  const { terminal, say } = session
  const found = await recover({ state, dryRun: dryRun === true, say, signal: terminal.interrupted })
  session.print(found, ({ volumes, snapshots, layers, leftAlone }) =>
    [
      table(
        [dryRun ? 'would recover' : 'recovered', 'count'],
        [
          ['volumes', volumes],
          ['snapshots', snapshots],
          ['layers', layers],
        ],
      ),
      ...(leftAlone.length > 0 ? ['', 'Left alone:', ...leftAlone.map((name) => `  ${name}`)] : []),
    ].join('\n'),
  )
}
