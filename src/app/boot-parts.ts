/** Kernel and ramdisk of an instance, named by properties of its boot image: as usable as if the caller had named them himself. */
import { asId, type ImageId, isUuid } from '../domain/ids.ts'
import { refuse } from '../domain/refusals.ts'
import type { TakeLocks } from '../ports/operations.ts'
import type { BootConfig, Tx } from '../ports/tables.ts'
import type { Caller } from './caller.ts'
import { shared } from './locks.ts'
import { usableImage } from './owned.ts'

const parts = [
  { what: 'kernel', format: 'aki', of: ({ kernelId }: BootConfig) => kernelId },
  { what: 'ramdisk', format: 'ari', of: ({ ramdiskId }: BootConfig) => ramdiskId },
] as const

/** They are locked until the instance is made, and kept from deletion by it after that. */
export async function requireBootParts(tx: Tx, take: TakeLocks, caller: Caller, boot: BootConfig): Promise<void> {
  for (const { what, format, of } of parts) {
    const id = of(boot)
    if (id === undefined) continue
    const no = (why: string) => refuse.bootPartUnusable({ what, id, why })
    if (!isUuid(id)) throw no('that is no id of an image')
    await take(shared('image', id))
    const image = await usableImage(tx, caller, asId<ImageId>(id)).catch(() => null)
    if (image === null) throw no('there is no such image')
    if (image.status !== 'active') throw no(`its status is ${image.status}, not active`)
    if (image.container_format !== format) throw no(`it is not of format ${format}`)
  }
}
