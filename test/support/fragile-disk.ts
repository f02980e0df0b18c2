/**
 * A file system of its own on a loop device, whose power can be cut: EXT4's shutdown ioctl drops everything that was not
 * synced, journal included. Needs root, loop devices and ext4.
 */
import { execFile, execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32), with EXT4_GOING_FLAGS_NOLOGFLUSH. */
const cut = 'open(my $d, "<", $ARGV[0]) or die $!; my $how = pack("L", 2); ioctl($d, 0x8004587d, $how) or die $!'

/** Why this machine cannot cut the power of a file system; null: it can. */
export function whyNoPowerCut(): string | null {
  if (process.getuid?.() !== 0) return 'needs root'
  try {
    execFileSync('losetup', ['--find'], { stdio: 'ignore' })
    execFileSync('perl', ['-e', '1'], { stdio: 'ignore' })
    execFileSync('mkfs.ext4', ['-V'], { stdio: 'ignore' })
    return null
  } catch {
    return 'needs loop devices, perl and mkfs.ext4'
  }
}

export class FragileDisk {
  readonly mountpoint: string
  readonly #root: string
  readonly #image: string

  private constructor(root: string) {
    this.#root = root
    this.#image = join(root, 'disk.img')
    this.mountpoint = join(root, 'mnt')
  }

  static async make(bytes: number): Promise<FragileDisk> {
    const disk = new FragileDisk(await mkdtemp(join(tmpdir(), 'comeback-disk-')))
    await mkdir(disk.mountpoint)
    await writeFile(disk.#image, '')
    await truncate(disk.#image, bytes)
    await run('mkfs.ext4', ['-q', '-F', disk.#image])
    await disk.#mount()
    return disk
  }

  /** What lies in the directory afterwards is what a machine would find that lost its power now. */
  async losePower(): Promise<void> {
    await run('perl', ['-e', cut, this.mountpoint])
    await run('umount', [this.mountpoint])
    await this.#mount()
  }

  async end(): Promise<void> {
    await run('umount', [this.mountpoint])
    await rm(this.#root, { recursive: true })
  }

  async #mount(): Promise<void> {
    // Nothing may be written back by itself: what is on the disk after the cut was synced on purpose.
    await run('mount', ['-o', 'loop,commit=300,noatime', this.#image, this.mountpoint])
  }
}
