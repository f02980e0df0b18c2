/** `comeback vault extract`: reads a vault where nothing else is left. It signs in nowhere. */
import { type Command, Option } from 'commander'
import type { OpenedVault } from '../../adapters/vault/extract.ts'
import { Refusal } from '../../domain/refusals.ts'
import { examples } from '../command.ts'
import { exitCodes, failed, Stop, usage } from '../exit.ts'
import { only } from '../find.ts'
import { clean, size, table, when } from '../output.ts'
import { moved, statusLine } from '../progress.ts'
import { readSecret } from '../secret.ts'
import type { GlobalOptions, Terminal } from '../session.ts'

type Found = Awaited<ReturnType<OpenedVault['list']>>[number]
type Options = GlobalOptions & { readonly keyFile?: string; readonly format?: 'raw' | 'qcow2' }

export function addExtract(vault: Command, terminal: Terminal): void {
  vault
    .command('extract')
    .summary('read a vault without a controller, with its recovery key alone')
    .description(
      'Lists the backups in a vault, latest first, or writes one of them into a new file: with the directory and its recovery key alone, without\n' +
        'controller, database or log-in. Every block is proved; the file has its name only when it is whole.',
    )
    .argument('<directory>', 'where the vault lies')
    .argument('[backup]', 'id of a backup, or a name that only one has; left out: they are listed')
    .argument('[file]', 'new file that the disk is written to')
    .option('--key-file <file>', 'the recovery key; `-`: standard input; left out: asked for')
    .addOption(new Option('--format <format>', 'of the file; left out: raw if its name ends so').choices(['qcow2', 'raw']))
    .addHelpText(
      'after',
      examples(
        'vault extract /mnt/backup/comeback',
        'vault extract /mnt/backup/comeback 8d7e… data.qcow2 --key-file key.txt',
        'vault extract /mnt/backup/comeback nightly data.raw',
      ),
    )
    .action(async (directory: string, backup: string | undefined, file: string | undefined, _own: object, command: Command) =>
      run(terminal, command.optsWithGlobals<Options>(), directory, backup, file),
    )
}

async function run(terminal: Terminal, options: Options, directory: string, backup?: string, file?: string): Promise<void> {
  if (backup !== undefined && file === undefined) throw usage('Say into which new file it is to be written.')
  const key = await readSecret(terminal, 'recovery key', options.keyFile)
  const { openWithRecoveryKey } = await import('../../adapters/vault/extract.ts')
  const vault = await openWithRecoveryKey(directory, key)
  try {
    const found = (await vault.list()).toSorted((a, b) => (a.facts.createdAt < b.facts.createdAt ? 1 : -1))
    if (backup === undefined || file === undefined)
      return print(terminal, options, { ...view(vault), backups: found.map(viewOf) }, draw(found))
    await extract(terminal, options, vault, chosen(found, backup), file)
  } finally {
    await vault.close()
  }
}

const chosen = (found: readonly Found[], text: string): Found =>
  only(
    'backup',
    text,
    found.filter(({ backup, facts }) => backup === text || facts.name === text),
    ({ backup, facts }) => `${backup} (of ${clean(facts.volumeName)}, ${when(facts.createdAt)})`,
  )

async function extract(terminal: Terminal, options: Options, vault: OpenedVault, one: Found, file: string): Promise<void> {
  const format = options.format ?? (/\.(raw|img)$/i.test(file) ? 'raw' : 'qcow2')
  const line = statusLine({ terminal, json: options.output === 'json' })
  try {
    await vault.extract(one, file, format, (news) => line.show(`extract ${moved(news)}`), terminal.interrupted)
  } catch (error) {
    if (terminal.interrupted.aborted)
      throw new Stop(exitCodes.interrupted, 'interrupted', 'Interrupted; nothing was left behind.')
    throw sayingWhy(file, error)
  } finally {
    line.end()
  }
  const done = { ...viewOf(one), file, format }
  print(
    terminal,
    options,
    done,
    `${file} holds ${clean(one.facts.name)} of ${clean(one.facts.volumeName)}: ${size(one.sizeBytes)}, ${format}, every block proved.`,
  )
}

/** What the file system said of the file that the user named. */
function sayingWhy(file: string, error: unknown): unknown {
  if (error instanceof Refusal || !(error instanceof Error) || !('code' in error)) return error
  return failed('fileNotWritten', `${file} was not written (${String(error.code)}).`)
}

const view = ({ identity: { vault, name, createdAt } }: OpenedVault) => ({ vault, name, created_at: createdAt })

const viewOf = ({ backup, volume, project, sizeBytes, rootHash, facts }: Found) => ({
  backup,
  name: facts.name,
  volume,
  volume_name: facts.volumeName,
  project,
  project_name: facts.projectName,
  instance: facts.instance,
  size_bytes: sizeBytes,
  root_hash: rootHash,
  consistency: facts.consistency,
  created_at: facts.createdAt,
})

const draw = (found: readonly Found[]): string =>
  table(
    ['backup', 'name', 'volume', 'device', 'project', 'size', 'consistency', 'made'],
    found.map(({ backup, sizeBytes, facts }) => [
      backup,
      facts.name,
      facts.volumeName,
      facts.instance && `${facts.instance.name} ${facts.instance.device}`,
      facts.projectName,
      size(sizeBytes),
      facts.consistency,
      when(facts.createdAt),
    ]),
  )

const print = (terminal: Terminal, { output }: GlobalOptions, value: unknown, text: string): void =>
  void terminal.out.write(`${output === 'json' ? JSON.stringify(value, null, 2) : text}\n`)
