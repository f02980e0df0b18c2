import type { Commands } from '../commands.ts'
import type { Needs } from '../needs.ts'
import { imageCommands } from './images.ts'
import { instanceCommands } from './instances.ts'
import { recoveryCommands } from './recovery.ts'
import { rollbackCommands } from './rollback.ts'
import { snapshotCommands } from './snapshots.ts'
import { volumeCommands } from './volumes.ts'

/** All commands, for the composition root. */
export const createCommands = (needs: Needs): Commands => ({
  ...imageCommands(needs),
  ...instanceCommands(needs),
  ...recoveryCommands(needs),
  ...rollbackCommands(needs),
  ...snapshotCommands(needs),
  ...volumeCommands(needs),
})
