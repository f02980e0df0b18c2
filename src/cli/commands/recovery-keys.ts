/** Recovery keys of vaults: shown once, or written to a file that only its owner reads. */
import type { Command } from 'commander'
import { endpoints } from '../../../contract/index.ts'
import { action, examples } from '../command.ts'
import { findVault } from '../find.ts'
import { clean } from '../output.ts'
import { madeInto } from '../secret.ts'
import type { Session, Terminal } from '../session.ts'

export function addKeyCommands(vault: Command, terminal: Terminal): void {
  vault
    .command('kit')
    .summary('make a new recovery key')
    .description('Makes a new recovery key for a vault and shows it once; the former ones go on working (administrators).')
    .argument('<vault>', 'name or id')
    .option('--replace', 'the former keys open the vault no more')
    .option('--save-key <file>', 'write it to a new file instead of showing it')
    .addHelpText('after', examples('vault kit main', 'vault kit main --replace --save-key key.txt'))
    .action(action(terminal, kit))
}

type Kit = { replace?: boolean; saveKey?: string }

async function kit(session: Session, { replace, saveKey }: Kit, name: string): Promise<void> {
  const { id: vault, name: called } = await findVault(session, name)
  if (replace) await session.confirm(`Former recovery keys of vault ${clean(called)} will open it no more.`, called)
  const request = { params: { vault }, body: { replace: replace === true } }
  const make = () => session.client.call(endpoints.newRecoveryKey, request)
  await makeKey(session, saveKey, `A new recovery key of vault ${clean(called)}`, make)
}

const advice =
  'Write it down and keep it apart from these machines: it is shown this once and kept nowhere.\n' +
  'Whoever holds it and the directory reads all backups; without it nobody does once this installation is lost.'

/** Makes what has a recovery key, and shows the key or writes it to a new file. */
export async function makeKey<Made extends { readonly recovery_key: string }>(
  session: Session,
  file: string | undefined,
  what: string,
  make: () => Promise<Made>,
): Promise<Made> {
  if (file === undefined) {
    const made = await make()
    session.print(made, ({ recovery_key: key }) => `${what}\n\nRecovery key:\n\n    ${clean(key)}\n\n${advice}`)
    return made
  }
  const made = await madeInto(file, ({ recovery_key: key }) => key, make)
  const { recovery_key: _key, ...rest } = made
  session.print(
    { ...rest, key_file: file },
    () => `${what}\nIts recovery key is in ${clean(file)}. Keep it apart from these machines.`,
  )
  return made
}
