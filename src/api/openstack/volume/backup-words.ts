/** Cinder's sentences for what it answers with 400 and we would call a conflict. */
import { Refusal, refuse } from '../../../domain/refusals.ts'

const toBeRestoredTo = 'Invalid volume: Volume to be restored to must be available'

const sentences: Readonly<Record<'delete' | 'restore', Readonly<Record<string, string>>>> = {
  delete: {
    backupUnusable: 'Invalid backup: Backup status must be available or error',
    resourceBusy: 'Invalid backup: Backup status must be available or error',
  },
  restore: {
    backupUnusable: 'Invalid backup: Backup status must be available',
    resourceBusy: 'Invalid backup: Backup status must be available',
    revertWrongState: toBeRestoredTo,
    volumeWrongState: toBeRestoredTo,
    restoreWhileRunning: toBeRestoredTo,
  },
}

export async function inCinderWords<T>(verb: keyof typeof sentences, asked: Promise<T>): Promise<T> {
  try {
    return await asked
  } catch (error) {
    const why = error instanceof Refusal ? sentences[verb][error.code] : undefined
    throw why === undefined ? error : refuse.malformed({ why })
  }
}

export function requireRestorable(status: string, sizeGib: number, backupGib: number): void {
  if (status !== 'available') throw refuse.malformed({ why: toBeRestoredTo })
  if (backupGib > sizeGib)
    throw refuse.malformed({
      why: `Invalid volume: volume size ${sizeGib} is too small to restore backup of size ${backupGib}.`,
    })
}
