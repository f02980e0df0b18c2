/** The `comeback` command: puts the commands together, runs one and ends with its exit code. */
import { Command, Option } from 'commander'
import type { Adder } from './command.ts'
import { administrationCommands } from './commands/administration.ts'
import { backupCommands } from './commands/backups.ts'
import { hostGroupCommands } from './commands/host-groups.ts'
import { inventoryCommands } from './commands/inventory.ts'
import { operationCommands } from './commands/operations.ts'
import { planCommands } from './commands/plans.ts'
import { recoverCommand } from './commands/recover.ts'
import { rollbackCommands } from './commands/rollback.ts'
import { snapshotCommands } from './commands/snapshots.ts'
import { vaultCommands } from './commands/vaults.ts'
import { volumeCommands } from './commands/volumes.ts'
import { endingOf, exitCodesHelp } from './exit.ts'
import { clean } from './output.ts'
import type { Terminal } from './session.ts'

export async function runCli(args: readonly string[], terminal: Terminal): Promise<number> {
  const program = buildProgram(terminal, [
    snapshotCommands,
    rollbackCommands,
    operationCommands,
    inventoryCommands,
    volumeCommands,
    backupCommands,
    vaultCommands,
    hostGroupCommands,
    planCommands,
    administrationCommands,
    recoverCommand,
  ])
  try {
    await program.parseAsync(args, { from: 'user' })
    return 0
  } catch (error) {
    const { exitCode, message, code, requestId, facts: particulars } = endingOf(error)
    if (message !== null) {
      const json = program.opts<{ output?: string }>().output === 'json'
      const facts = { code, message, facts: particulars, request_id: requestId }
      const line = json
        ? JSON.stringify({ error: facts })
        : `${clean1(message)}${requestId === undefined ? '' : ` (request ${requestId})`}`
      terminal.err.write(`${line}\n`)
    }
    return exitCode
  }
}

const clean1 = (message: string) => message.split('\n').map(clean).join('\n')

function buildProgram(terminal: Terminal, adders: readonly Adder[]): Command {
  const program = new Command('comeback')
    .description('Brings virtual machines back: snapshots, rollbacks, backups, operations.')
    .addOption(new Option('-o, --output <format>', 'how to print results').choices(['table', 'json']).default('table'))
    .option('--os-cloud <name>', 'cloud of a clouds.yaml (else OS_CLOUD, the OS_* variables, or the state directory)')
    .option('-y, --yes', 'do not ask before changing something')
    .configureOutput({
      writeOut: (text) => void terminal.out.write(text),
      writeErr: (text) => void terminal.err.write(text),
      getOutHelpWidth: () => terminal.out.columns ?? 100,
    })
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('(comeback --help says more)')
    .addHelpText('after', exitCodesHelp)
    .exitOverride()
  for (const add of adders) add(program, terminal)
  return program
}
