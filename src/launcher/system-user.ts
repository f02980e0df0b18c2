import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { refuse } from '../domain/refusals.ts'
import { say } from './say.ts'

const run = promisify(execFile)

/** The user that machines run as, when root starts them. It can log in nowhere and owns nothing. */
export async function ensureUser(name: string): Promise<void> {
  if (process.getuid?.() !== 0) return
  const exists = await run('id', ['-u', name], { timeout: 10_000 }).then(
    () => true,
    () => false,
  )
  if (exists) return
  say(`Making the system user '${name}', which machines will run as.`)
  const options = ['--system', '--user-group', '--no-create-home', '--home-dir', '/nonexistent', '--shell', '/usr/sbin/nologin']
  await run('useradd', [...options, '--comment', 'Comeback machines', name], { timeout: 30_000 }).catch((error: Error) => {
    throw refuse.setup({ why: `The user '${name}' could not be made: ${error.message.trim()}` })
  })
}
