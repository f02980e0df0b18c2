import { readFile } from 'node:fs/promises'

/** The guest's own scripts, with their place and mode in it. */
export const guestFiles = {
  init: '/sbin/init',
  shutdown: '/sbin/shutdown',
  'fsfreeze-hook': '/etc/qemu/fsfreeze-hook',
  'udhcpc.script': '/usr/share/udhcpc/default.script',
  writer: '/bin/writer',
} as const

export const guestFile = (name: keyof typeof guestFiles | 'initramfs-init'): Promise<Buffer> =>
  readFile(new URL(`./files/${name}`, import.meta.url))
