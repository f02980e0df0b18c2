import type { Command } from 'commander'
import { endpoints } from '../../../contract/index.ts'
import type { VaultView } from '../../../contract/vaults.ts'
import { type Adder, action, bytes, count, examples, type Waiting, waitable } from '../command.ts'
import { findVault } from '../find.ts'
import { clean, fields, size, table, when } from '../output.ts'
import { readSecret } from '../secret.ts'
import type { Session } from '../session.ts'
import { addExtract } from './extract.ts'
import { addKeyCommands, makeKey } from './recovery-keys.ts'
import { verify } from './verify.ts'

export const vaultCommands: Adder = (program, terminal) => {
  const vault = program
    .command('vault')
    .description('Where backups live (administrators), and reading one without a controller: `vault extract`')
  vault
    .command('list', { isDefault: true })
    .description('Lists vaults.')
    .addHelpText('after', examples('vault', 'vault list -o json'))
    .action(action(terminal, list))
  one(vault, 'show', 'Shows a vault.').addHelpText('after', examples('vault show main')).action(action(terminal, show))
  settings(vault.command('create').argument('<name>', 'what to call it'))
    .summary('make a vault, and show its recovery key once')
    .description(
      'Makes a vault in an empty directory, the same on every host that uses it: a local disk, or a share that is mounted there.\n' +
        'Its recovery key is shown once. With the directory and the key everything in it can be read, without anything else.',
    )
    .argument('<directory>', 'absolute path of an empty directory')
    .option('--save-key <file>', 'write the recovery key to a new file instead of showing it')
    .addHelpText(
      'after',
      examples('vault create main /mnt/backup', 'vault create off-site /mnt/nas --rate 50MiB --save-key key.txt'),
    )
    .action(action(terminal, create))
  settings(vault.command('add').argument('<name>', 'what to call it'))
    .summary('take in a vault that another installation has made')
    .description(
      'Takes in a vault that another installation, or a lost one, has made. `comeback recover --from-vault` then lists its backups.',
    )
    .argument('<directory>', 'absolute path of the vault')
    .option('--key-file <file>', 'its recovery key; `-`: standard input; left out: asked for')
    .addHelpText('after', examples('vault add main /mnt/backup', 'vault add main /mnt/backup --key-file key.txt'))
    .action(action(terminal, add))
  one(vault, 'change', 'Renames a vault or changes how fast it is used.')
    .option('--name <name>', 'what to call it')
    .option('--rate <bytes>', 'at most so much a second, such as 50MiB; `none`: as fast as it goes', rate)
    .option('--parallel <count>', 'how many blocks are under way at once', count)
    .addHelpText('after', examples('vault change main --rate 50MiB', 'vault change main --rate none'))
    .action(action(terminal, change))
  one(vault, 'set-default', 'Makes it the vault of hosts whose group has none.')
    .addHelpText('after', examples('vault set-default main'))
    .action(action(terminal, setDefault))
  one(vault, 'test', 'Writes, reads and deletes a probe.')
    .addHelpText('after', examples('vault test main'))
    .action(action(terminal, test))
  waitable(one(vault, 'verify', 'Reads everything back and proves it. Damaged backups say so afterwards.'))
    .addHelpText('after', examples('vault verify main', 'vault verify main --no-wait'))
    .action(
      action(terminal, async (session, { wait }: Waiting, name: string) =>
        verify(session, await findVault(session, name), wait),
      ),
    )
  addKeyCommands(vault, terminal)
  addExtract(vault, terminal)
  one(vault, 'remove', 'Forgets a vault; what lies in it stays. Refused while backups in it are listed.')
    .addHelpText('after', examples('vault remove old'))
    .action(action(terminal, remove))
}

const one = (vault: Command, verb: string, description: string): Command =>
  vault.command(verb).description(description).argument('<vault>', 'name or id')

/** Commander takes null for no value at all. */
const rate = (text: string): number | 'none' => (text === 'none' ? text : bytes(text))

const settings = (command: Command): Command =>
  command
    .option('--rate <bytes>', 'at most so much a second, such as 50MiB', rate)
    .option('--parallel <count>', 'how many blocks are under way at once', count)
    .option('--default', 'the vault of hosts whose group has none; the first vault is it in any case')

type Settings = { rate?: number | 'none'; parallel?: number; default?: boolean; name?: string }

const bodyOf = ({ rate: limit, parallel, default: isDefault, name }: Settings) => ({
  ...(name === undefined ? {} : { name }),
  ...(limit === undefined ? {} : { bytes_per_second: limit === 'none' ? null : limit }),
  ...(parallel === undefined ? {} : { parallel }),
  ...(isDefault === undefined ? {} : { default: isDefault }),
})

async function list(session: Session): Promise<void> {
  session.print(await session.client.call(endpoints.listVaults, {}), ({ items }) =>
    table(
      ['id', 'name', 'directory', 'default', 'host groups', 'backups', 'stored', 'tested'],
      items.map((vault) => [
        vault.id,
        vault.name,
        vault.directory,
        vault.default ? 'yes' : 'no',
        vault.host_groups.join(' ') || null,
        vault.backups,
        size(vault.stored_bytes),
        state(vault),
      ]),
    ),
  )
}

const state = ({ tested_at, test_problem, damaged_backups }: VaultView): string =>
  `${when(tested_at)}${test_problem === null ? '' : `: ${test_problem}`}${damaged_backups > 0 ? ` (${damaged_backups} backups DAMAGED)` : ''}`

async function show(session: Session, _options: object, name: string): Promise<void> {
  session.print(await findVault(session, name), draw)
}

const draw = (vault: VaultView): string =>
  fields({
    id: vault.id,
    name: vault.name,
    directory: vault.directory,
    default: vault.default ? 'yes' : 'no',
    'host groups': vault.host_groups.join(' ') || null,
    rate: vault.bytes_per_second === null ? 'as fast as it goes' : `${size(vault.bytes_per_second)}/s`,
    parallel: vault.parallel,
    backups: vault.backups,
    'damaged backups': vault.damaged_backups,
    stored: size(vault.stored_bytes),
    tested: state(vault),
    made: when(vault.created_at),
  })

async function create(
  session: Session,
  options: Settings & { saveKey?: string },
  name: string,
  directory: string,
): Promise<void> {
  const make = () => session.client.call(endpoints.createVault, { body: { ...bodyOf(options), name, directory } })
  const { vault } = await makeKey(session, options.saveKey, `Made: vault ${clean(name)} in ${clean(directory)}`, make)
  await tryOut(session, vault)
}

async function add(session: Session, options: Settings & { keyFile?: string }, name: string, directory: string): Promise<void> {
  const recovery_key = await readSecret(session.terminal, 'recovery key', options.keyFile)
  const vault = await session.client.call(endpoints.addVault, { body: { ...bodyOf(options), name, directory, recovery_key } })
  session.print(
    vault,
    () => `Added: ${clean(vault.name)}. To list the backups in it: comeback recover --from-vault ${clean(vault.name)}`,
  )
  await tryOut(session, vault)
}

async function change(session: Session, options: Settings, name: string): Promise<void> {
  const { id: vault } = await findVault(session, name)
  session.print(await session.client.call(endpoints.changeVault, { params: { vault }, body: bodyOf(options) }), draw)
}

async function setDefault(session: Session, _options: object, name: string): Promise<void> {
  const { id: vault } = await findVault(session, name)
  const changed = await session.client.call(endpoints.changeVault, { params: { vault }, body: { default: true } })
  session.print(changed, () => `${clean(changed.name)} is the default now.`)
}

const call = (session: Session, { id: vault }: VaultView) => session.client.call(endpoints.testVault, { params: { vault } })

async function test(session: Session, _options: object, name: string): Promise<void> {
  const found = await call(session, await findVault(session, name))
  warn(session, found.shares_disk_with)
  session.print(found, ({ free_bytes }) => `It works.${free_bytes === null ? '' : ` Free: ${size(free_bytes)}.`}`)
}

/** What a new vault should be told about at once; that it does not work is no reason to forget it. */
async function tryOut(session: Session, vault: VaultView): Promise<void> {
  try {
    warn(session, (await call(session, vault)).shares_disk_with)
  } catch (error) {
    session.say(`Warning: its test failed: ${error instanceof Error ? clean(error.message) : 'no reason is known'}`)
  }
}

function warn(session: Session, pools: readonly string[]): void {
  if (pools.length > 0)
    session.say(
      `Warning: it lies on the same disk as pool ${pools.map(clean).join(', ')}: backups there do not survive the loss of that disk.`,
    )
}

async function remove(session: Session, _options: object, name: string): Promise<void> {
  const vault = await findVault(session, name)
  await session.confirm(
    `Vault ${clean(vault.name)} will be forgotten; what lies in ${clean(vault.directory)} stays.`,
    vault.name,
  )
  await session.client.call(endpoints.removeVault, { params: { vault: vault.id } })
  session.print({ removed: vault.id }, () => `Removed: ${clean(vault.name)}. Its files are untouched.`)
}
