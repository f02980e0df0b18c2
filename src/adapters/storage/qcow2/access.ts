/** Who may write a layer's file. A frozen one is not writable by QEMU's user, so that no mistake of ours can reach it. */
import { chmod, chown, stat } from 'node:fs/promises'

/** The user that QEMU runs as, where the agent is root; null: QEMU runs as the agent's own user. */
export type DiskOwner = { readonly uid: number; readonly gid: number } | null

const modes = { head: 0o600, frozen: 0o440, ownFrozen: 0o444 } as const

export async function freezeFile(path: string, owner: DiskOwner): Promise<void> {
  if (owner !== null) await chown(path, 0, owner.gid)
  await chmod(path, owner === null ? modes.ownFrozen : modes.frozen)
}

export async function allowWritingFile(path: string, owner: DiskOwner): Promise<void> {
  if (owner !== null) await chown(path, owner.uid, owner.gid)
  await chmod(path, modes.head)
}

export const isFrozen = async (path: string): Promise<boolean> => ((await stat(path)).mode & 0o200) === 0
