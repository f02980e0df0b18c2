import { execFile } from 'node:child_process'
import { access, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { refuse } from '../../domain/refusals.ts'

const run = promisify(execFile)
const oldest = 15

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  )

/** Debian's folder of the newest server binaries; its wrappers in PATH would manage clusters of their own. */
export async function postgresBinaries(under = '/usr/lib/postgresql'): Promise<string> {
  const versions = (await readdir(under).catch(() => [])).map(Number).filter((version) => version >= oldest)
  for (const version of versions.sort((a, b) => b - a)) {
    const folder = join(under, String(version), 'bin')
    if ((await exists(join(folder, 'postgres'))) && (await exists(join(folder, 'initdb')))) return folder
  }
  throw refuse.setup({ why: `PostgreSQL ${oldest} or newer is not installed. Install it: apt-get install postgresql` })
}

export type RunsAs = { readonly uid?: number; readonly gid?: number }

/** PostgreSQL refuses to run as root: then it is Debian's user `postgres`, else whoever we are. */
export async function postgresUser(): Promise<RunsAs> {
  if (process.getuid?.() !== 0) return {}
  try {
    const id = async (flag: string) => Number((await run('id', [flag, 'postgres'], { timeout: 10_000 })).stdout.trim())
    return { uid: await id('-u'), gid: await id('-g') }
  } catch {
    throw refuse.setup({ why: 'There is no user `postgres`. Install PostgreSQL: apt-get install postgresql' })
  }
}
