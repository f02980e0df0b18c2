/** Starts a QEMU process in a session of its own, so that it outlives the agent. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants } from 'node:fs'
import { chown, mkdir, open, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { markOf, type ProcessMark } from '../../adapters/storage/processes.ts'
import type { InstanceId, PoolId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type { MachineSpec } from '../../ports/host-agent.ts'
import { configDriveFile, qemuArguments, unprivileged } from './command-line.ts'
import { openConsole } from './console.ts'
import type { MachinesEnvironment, OpenPool } from './environment.ts'
import { iso9660 } from './iso9660.ts'
import { runDirectoryOf } from './names.ts'

export async function spawnMachine(environment: MachinesEnvironment, spec: MachineSpec): Promise<ProcessMark> {
  const { records, pools, user, accelerator, runDirectory } = environment
  const run = await freshRunDirectory(runDirectory, spec.instance, user)
  await writeConfigDrive(run, spec, user)
  const state = records.directoryOf(spec.instance)
  await using console = await openConsole(state, user)
  await using log = await open(join(state, 'qemu.log'), 'w', 0o600)
  await using runHandle = await open(run, constants.O_DIRECTORY)
  const handles = [runHandle, console, ...[...pools.values()].map((pool: OpenPool) => pool.handle)]
  const [command = '', ...before] = unprivileged(environment)
  const args = [...before, 'qemu-system-x86_64', ...qemuArguments(spec, [...pools.keys()] satisfies PoolId[], accelerator)]
  const child = spawn(command, args, {
    detached: true,
    cwd: '/',
    env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin', LC_ALL: 'C.UTF-8' },
    stdio: ['ignore', log.fd, log.fd, ...handles.map(({ fd }) => fd)],
  })
  child.on('error', () => undefined) // a process that could not be started has no number, below
  if (child.pid === undefined) throw refuse.hostFailure({ what: 'QEMU could not be started; is it installed?' })
  child.unref()
  const mark = await markOf(child.pid)
  if (mark === null) await once(child, 'exit')
  return mark ?? { pid: child.pid, start: '' }
}

async function freshRunDirectory(
  runDirectory: string,
  instance: InstanceId,
  user: MachinesEnvironment['user'],
): Promise<string> {
  const directory = runDirectoryOf(runDirectory, instance)
  await rm(directory, { recursive: true, force: true })
  await mkdir(directory, { recursive: true, mode: 0o700 })
  if (user !== null) await chown(directory, user.uid, user.gid)
  return directory
}

/** Readable for the machine's user alone: keys and passwords may be in it. */
async function writeConfigDrive(run: string, { configDrive }: MachineSpec, user: MachinesEnvironment['user']): Promise<void> {
  if (configDrive === undefined) return
  const files = configDrive.map(({ path, base64 }) => ({ path, content: Buffer.from(base64, 'base64') }))
  const drive = join(run, configDriveFile)
  await writeFile(drive, iso9660('config-2', files), { mode: 0o400 })
  if (user !== null) await chown(drive, user.uid, user.gid)
}

/** Why QEMU would not start, for a client: without paths. The whole of it is in the agent's log. */
export async function whyNotStarted(state: string): Promise<{ said: string; refusal: Error }> {
  const said = (await readFile(join(state, 'qemu.log'), 'utf8').catch(() => '')).trim().slice(-4_000)
  if (/Failed to get .*lock/.test(said)) return { said, refusal: refuse.diskHeldOpen() }
  const why = /Could not open .*: (No such file or directory|Permission denied)/.exec(said)?.[1]
  const what = why === undefined ? 'QEMU did not start' : `QEMU did not start: a layer or image could not be opened (${why})`
  return { said, refusal: refuse.hostFailure({ what }) }
}
