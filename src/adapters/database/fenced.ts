/**
 * The database as the steps of a saga have it. Reads are as anywhere; a write happens only while the operation is still held
 * with its epoch, so that a worker which was overtaken changes nothing, however late it wakes.
 */
import type pg from 'pg'
import { type Claim, LeaseLost } from '../../ports/journal.ts'
import type { Db } from '../../ports/tables.ts'
import { type Ask, database } from './connect.ts'

type Holder = Pick<Claim, 'operation' | 'epoch'>

export const fencedDatabase = (pool: pg.Pool, holder: Holder): Db => database(pool, fencedBy(holder))

const begins = /^\s*(begin|start transaction)/i
const ends = /^\s*(commit|rollback)\s*$/i
const writes = /^\s*(insert|update|delete|with)/i

export const fencedBy =
  ({ operation, epoch }: Holder) =>
  (ask: Ask): Ask => {
    let inTransaction = false

    const begin = async (sql: string): Promise<pg.QueryResult> => {
      const answer = await ask(sql, [])
      const held = await ask(stillHeld, [operation, epoch])
      if (held.rowCount === 1) return answer
      await ask('rollback', [])
      throw new LeaseLost(operation, epoch)
    }

    const alone: Ask = async (sql, parameters) => {
      await begin('begin')
      try {
        const answer = await ask(sql, parameters)
        await ask('commit', [])
        return answer
      } catch (error) {
        await ask('rollback', []).catch(() => {})
        throw error
      }
    }

    return async (sql, parameters) => {
      if (begins.test(sql)) {
        const answer = await begin(sql)
        inTransaction = true
        return answer
      }
      if (ends.test(sql)) inTransaction = false
      return !inTransaction && writes.test(sql) ? alone(sql, parameters) : ask(sql, parameters)
    }
  }

const stillHeld = 'select from operations where id = $1 and epoch = $2 and ended_at is null for share'
