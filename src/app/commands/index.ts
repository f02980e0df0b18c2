import type { Commands } from '../commands.ts'
import type { Needs } from '../needs.ts'
import { backupCommands } from './backups.ts'
import { hostGroupCommands } from './host-groups.ts'
import { imageCommands } from './images.ts'
import { instanceCommands } from './instances.ts'
import { recoveryCommands } from './recovery.ts'
import { restoreCommands } from './restores.ts'
import { rollbackCommands } from './rollback.ts'
import { snapshotCommands } from './snapshots.ts'
import { vaultCommands } from './vaults.ts'
import { volumeCommands } from './volumes.ts'

/** All commands, for the composition root. */
export const createCommands = (needs: Needs): Commands => ({
  ...backupCommands(needs),
  ...hostGroupCommands(needs),
  ...imageCommands(needs),
  ...instanceCommands(needs),
  ...recoveryCommands(needs),
  ...restoreCommands(needs),
  ...rollbackCommands(needs),
  ...snapshotCommands(needs),
  ...vaultCommands(needs),
  ...volumeCommands(needs),
})
