/** Making backups: `volumes backup` and `instances backup`. */
import type { Command } from 'commander'
import type { BackupView } from '../../../contract/backups.ts'
import { endpoints } from '../../../contract/index.ts'
import type { Consistency } from '../../domain/volume.ts'
import { action, examples, several, type Waiting, waitable } from '../command.ts'
import { consistencyOption } from '../consistency.ts'
import { findInstance, findVolume, findVolumeSnapshot } from '../find.ts'
import { size, table } from '../output.ts'
import { awaitEnd, mustBeDone } from '../progress.ts'
import type { Session, Terminal } from '../session.ts'

type Asked = Waiting & { consistency: Consistency; full?: boolean; description?: string }

const asking = (command: Command): Command =>
  waitable(command)
    .argument('[name]', 'name of the backup; left out: the time')
    .option('--description <text>', 'what it is for')
    .addOption(consistencyOption('crash'))
    .option('--full', 'read everything, not only what changed; what is stored is the same')

export function addVolumeBackup(volumes: Command, terminal: Terminal): void {
  const command = volumes.command('backup').argument('<volume>', 'name or id')
  asking(command)
    .description('Backs a volume up, attached or not, into the vault of its host.')
    .option('--snapshot <snapshot>', 'what this snapshot of it holds, by name or id; left out: what it holds now')
    .addHelpText('after', examples('volumes backup data', 'volumes backup data nightly --consistency filesystem'))
    .action(action(terminal, backUpVolume))
}

export function addInstanceBackup(instances: Command, terminal: Terminal): void {
  const command = instances.command('backup').argument('<instance>', 'name or id')
  asking(command)
    .description('Backs all, or chosen, disks of an instance up as they are at one moment. It keeps running.')
    .option('--disk <device>', 'only this disk, by device or volume id; may be repeated', several)
    .addHelpText('after', examples('instances backup web', 'instances backup web nightly --disk vdb'))
    .action(action(terminal, backUpInstance))
}

const bodyOf = ({ consistency, full, description }: Asked, name: string | undefined) => ({
  consistency,
  read: full ? ('full' as const) : ('auto' as const),
  ...(name === undefined ? {} : { name }),
  ...(description === undefined ? {} : { description }),
})

async function backUpVolume(
  session: Session,
  asked: Asked & { snapshot?: string },
  from: string,
  name?: string,
): Promise<void> {
  const volume = await findVolume(session, from)
  const snapshot =
    asked.snapshot === undefined ? {} : { snapshot: (await findVolumeSnapshot(session, volume, asked.snapshot)).id }
  const begun = await session.client.call(endpoints.createBackup, {
    body: { volume: volume.id, ...snapshot, ...bodyOf(asked, name) },
  })
  if (!asked.wait) return session.print(begun, ({ backup, operation }) => `Accepted: ${backup} (operation ${operation.id})`)
  const operation = mustBeDone(await awaitEnd(session, begun.operation))
  const backup = await session.client.call(endpoints.showBackup, { params: { backup: begun.backup } })
  session.print({ backup, operation }, () => `Backed up: ${backup.id}, ${cost(backup)}`)
}

async function backUpInstance(
  session: Session,
  asked: Asked & { disk?: string[] },
  from: string,
  name?: string,
): Promise<void> {
  const { id: instance } = await findInstance(session, from)
  const { disk: disks } = asked
  const begun = await session.client.call(endpoints.backUpInstance, {
    params: { instance },
    body: { ...bodyOf(asked, name), ...(disks ? { disks } : {}) },
  })
  if (!asked.wait) return session.print(begun, ({ backups }) => backups.map(({ backup }) => `Accepted: ${backup}`).join('\n'))
  for (const { operation: id } of begun.backups) mustBeDone(await awaitEnd(session, { id, kind: 'write-backup' }))
  const made: BackupView[] = []
  for (const { backup } of begun.backups) made.push(await session.client.call(endpoints.showBackup, { params: { backup } }))
  session.print({ backups: made }, ({ backups }) =>
    table(
      ['backup', 'device', 'volume', 'read', 'stored', 'consistency'],
      backups.map((one) => [one.id, one.instance?.device, one.volume_name, ...moved(one), one.consistency]),
    ),
  )
}

const moved = ({ read_bytes, stored_bytes }: BackupView) => [size(read_bytes ?? 0), size(stored_bytes ?? 0)]

function cost(backup: BackupView): string {
  const [read, stored] = moved(backup)
  return `${read} read, ${stored} stored, ${backup.consistency}-consistent`
}
