import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { refuse } from '../../domain/refusals.ts'

const run = promisify(execFile)
const exists = (path: string) => stat(path).then(Boolean, () => false)

/**
 * Downloads a package and unpacks it under `folder`, installing nothing: no service is started, no boot menu changes. Of several
 * at once the first one's stays.
 */
export async function unpackedPackage(name: string, folder: string, signal?: AbortSignal): Promise<string> {
  const done = join(folder, name)
  if (await exists(done)) return done
  await mkdir(folder, { recursive: true })
  const scratch = await mkdtemp(join(folder, '.new-'))
  const limits = { timeout: 300_000, ...(signal && { signal }) }
  try {
    await run('apt-get', ['download', '-q', '-o', 'Acquire::Retries=3', name], { cwd: scratch, ...limits })
    const archive = (await readdir(scratch)).find((file) => file.endsWith('.deb'))
    if (!archive) throw new Error('nothing was downloaded')
    await run('dpkg-deb', ['-x', join(scratch, archive), join(scratch, 'tree')], limits)
    await rename(join(scratch, 'tree'), done).catch(async (error: unknown) => {
      if (!(await exists(done))) throw error
    })
    return done
  } catch (error) {
    const why = error instanceof Error ? error.message.trim().split('\n').at(-1) : String(error)
    throw refuse.setup({
      why: `The demo guest needs the package ${name}, which could not be downloaded (${why}). Try: apt-get update`,
    })
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

/** The package that a meta package stands for, such as the kernel that `linux-image-cloud-amd64` names. */
export async function dependencyOf(name: string, pattern: RegExp): Promise<string> {
  const { stdout } = await run('apt-cache', ['show', '--no-all-versions', name], { timeout: 60_000 }).catch(() => ({
    stdout: '',
  }))
  const depends = /^Depends: (.*)$/m.exec(stdout)?.[1] ?? ''
  const found = depends
    .split(/[,|]/)
    .map((each) => each.trim().split(' ')[0] ?? '')
    .find((each) => pattern.test(each))
  if (found) return found
  throw refuse.setup({ why: `The demo guest needs the package ${name}, which apt does not know. Try: apt-get update` })
}
