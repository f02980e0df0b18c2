import { sql } from 'kysely'
import type { Db } from '../../ports/tables.ts'

/** A number that nobody has had before. */
export async function nextEpoch(db: Db): Promise<number> {
  const { rows } = await sql<{ epoch: number }>`select nextval('epochs') as epoch`.execute(db)
  return Number(rows[0]?.epoch)
}
