/**
 * Puts an older copy of the database in place of the present one. Nobody may be connected. What was going on when the copy was
 * made is not taken up again: its operations end as quarantined and their locks go; the pools know better what is true by now,
 * and `comeback recover --from-pools` asks them.
 */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import pg from 'pg'
import { postgresBinaries } from './postgres-binaries.ts'

const run = promisify(execFile)
const problem = {
  code: 'restored',
  message:
    'The database was restored from a copy that was made while this operation ran. What it did since is asked of the pools.',
}

export async function restoreDatabase(url: string, dump: string): Promise<{ interrupted: number }> {
  const args = ['--clean', '--if-exists', '--no-owner', '--exit-on-error', '--single-transaction', `--dbname=${url}`, dump]
  await run(join(await postgresBinaries(), 'pg_restore'), args, { timeout: 30 * 60_000 })
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 })
  await client.connect()
  try {
    await client.query('begin')
    await client.query('delete from locks')
    const { rowCount } = await client.query(
      `update operations set state = 'quarantined', problem = $1, ended_at = now(), lease_owner = null, lease_until = null where ended_at is null`,
      [JSON.stringify(problem)],
    )
    await client.query('commit')
    return { interrupted: rowCount ?? 0 }
  } finally {
    await client.end()
  }
}
