import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { refuse } from '../../domain/refusals.ts'
import { postgresBinaries } from './postgres-binaries.ts'

/** A consistent dump in pg_restore's custom format. Ends with a rejection unless it is whole. */
export async function* dumpDatabase(url: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const child = spawn(join(await postgresBinaries(), 'pg_dump'), ['--format=custom', '--no-owner', `--dbname=${url}`], {
    stdio: ['ignore', 'pipe', 'pipe'],
    signal,
    env: { PATH: process.env['PATH'], LC_ALL: 'C.UTF-8' },
  })
  const exited = once(child, 'exit')
  exited.catch(() => undefined)
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-2000)
  })
  for await (const chunk of child.stdout) yield chunk as Uint8Array
  const [code] = await exited
  if (code !== 0)
    throw refuse.hostFailure({ what: `dumping the database (${said.trim().split('\n').at(-1) ?? 'no reason given'})` })
}
