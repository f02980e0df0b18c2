/**
 * Turns an upload into a layer. The tools that read what a stranger made run as a user who owns nothing, with little memory
 * and time, and get both files as open descriptors: they can name no other file of the host.
 */
import { constants } from 'node:fs'
import { chmod, chown, open, rename, rm, stat } from 'node:fs/promises'
import type { Bytes } from '../../../domain/ids.ts'
import { refuse } from '../../../domain/refusals.ts'
import { blankImage } from './blank.ts'
import { runTool, saysFull, type ToolResult } from './tool.ts'
import { judgeUpload } from './upload-judge.ts'

/** The user with whom strangers' files are read; null where the agent is not root and cannot become somebody else. */
export type LowUser = { readonly uid: number; readonly gid: number } | null

/** QEMU's caches for the largest image are below 100 MiB; address space includes its libraries and thread stacks. */
const memoryBytes = 2 * 1024 ** 3
const lookSeconds = 10
/** Slow disks write 20 MB a second; an image that takes longer than this is refused rather than waited for. */
const convertSeconds = 2 * 3600
/** `qemu-img check`: clusters are reserved that nothing uses. No content suffers. */
const leaksOnly = 3

type Limits = { readonly cpuSeconds: number; readonly fileBytes: Bytes; readonly deadlineSeconds: number }

function confined(user: LowUser, { cpuSeconds, fileBytes }: Limits, command: readonly string[]): string[] {
  const limits = ['prlimit', `--as=${memoryBytes}`, `--cpu=${cpuSeconds}`, `--fsize=${fileBytes}`, '--core=0', '--']
  if (user === null) return [...limits, ...command]
  const drop = ['--clear-groups', '--no-new-privs', '--bounding-set=-all', '--inh-caps=-all', '--']
  return ['setpriv', `--reuid=${user.uid}`, `--regid=${user.gid}`, ...drop, ...limits, ...command]
}

async function runConfined(user: LowUser, limits: Limits, command: readonly string[], files: number[]): Promise<ToolResult> {
  const [program = '', ...args] = confined(user, limits, command)
  return runTool(program, args, { deadlineMs: limits.deadlineSeconds * 1000, files, cwd: '/' })
}

function lookAgrees(stdout: string, size: Bytes): boolean {
  const info: Record<string, unknown> = JSON.parse(stdout)
  const seen = Number(info['virtual-size'])
  return Math.ceil(seen / 512) * 512 === size && !('backing-filename' in info) && info['encrypted'] !== true
}

export type Import = {
  readonly upload: string
  readonly format: 'raw' | 'qcow2'
  /** Where the layer goes; written beside it first. */
  readonly target: string
  readonly lowUser: LowUser
  readonly freeBytes: Bytes
  readonly pool: string
}

async function convert(job: Import, size: Bytes, upload: number, making: number): Promise<void> {
  const { lowUser, format } = job
  const broken = () => refuse.imageDataRefused({ why: `it cannot be read as ${format}. It may be cut short or damaged.` })
  const long = { cpuSeconds: convertSeconds, fileBytes: 0, deadlineSeconds: convertSeconds }
  const look = { cpuSeconds: lookSeconds, fileBytes: 0, deadlineSeconds: 3 * lookSeconds }
  const info = await runConfined(lowUser, look, ['qemu-img', 'info', '--output=json', '-f', format, '/dev/fd/3'], [upload])
  if (info.code !== 0 || !lookAgrees(info.stdout, size)) throw broken()
  // A file that was cut short would be read as zeros where it is missing.
  const check =
    format === 'qcow2'
      ? await runConfined(lowUser, long, ['qemu-img', 'check', '-q', '-f', format, '/dev/fd/3'], [upload])
      : null
  if (check !== null && check.code !== 0 && check.code !== leaksOnly) throw broken()

  const most = Math.max(0, Math.min(Math.ceil(size * 1.01) + 64 * 1024 ** 2, job.freeBytes))
  const how = ['-n', '--target-is-zero', '-S', '64k', '-t', 'writeback', '-f', format, '-O', 'qcow2']
  const result = await runConfined(
    lowUser,
    { ...long, fileBytes: most },
    ['qemu-img', 'convert', ...how, '/dev/fd/3', '/dev/fd/4'],
    [upload, making],
  )
  if (result.code === 0) return
  if (saysFull(result.stderr) || /File too large/.test(result.stderr) || result.killedBy === 'SIGXFSZ') {
    throw refuse.poolFull({ pool: job.pool })
  }
  throw broken()
}

/** Makes the layer's file; it appears under its name when it is whole and on the disk. The caller syncs the directory. */
export async function convertUpload(job: Import): Promise<Bytes> {
  const size = await judgeUpload(job.upload, job.format)
  const making = `${job.target}.tmp`
  await rm(making, { force: true })
  try {
    await using target = await open(making, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600)
    const blank = blankImage(size, null)
    await target.write(blank.bytes, 0, blank.bytes.length, 0)
    await target.truncate(blank.fileBytes)
    if (job.lowUser !== null) await chown(making, job.lowUser.uid, job.lowUser.gid)
    if (job.lowUser !== null) await lend(job.upload, job.lowUser)
    await using upload = await open(job.upload, 'r')
    await convert(job, size, upload.fd, target.fd)
    await target.sync()
    await rename(making, job.target)
  } catch (error) {
    await rm(making, { force: true })
    throw error
  }
  return size
}

/** Lets the low user read the file it is given open: opening a descriptor again asks for the file's own permission. */
async function lend(path: string, user: NonNullable<LowUser>): Promise<void> {
  const { mode } = await stat(path)
  await chown(path, 0, user.gid)
  await chmod(path, (mode & 0o700) | 0o040)
}
