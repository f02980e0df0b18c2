import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { cloneDatabase, type TestDatabase } from '../../../test/support/database.ts'
import { migrate } from './migrate.ts'

let database: TestDatabase
let folder: URL

beforeEach(async () => {
  database = await cloneDatabase()
  await database.pool.query('truncate migrations')
  folder = pathToFileURL(`${await mkdtemp(join(tmpdir(), 'comeback-migrations-'))}/`)
})
afterEach(async () => {
  await database.drop()
  await rm(folder, { recursive: true })
})

const write = (name: string, sql: string) => writeFile(new URL(name, folder), sql)

test('applies what is new, in order, and once', async () => {
  await write('0001.sql', 'create table a (n int); create table b (n int);')
  await write('0002.sql', 'insert into a values (2)')
  expect(await migrate(database.url, folder)).toEqual({ applied: ['0001', '0002'], at: '0002' })
  await write('0003.sql', 'insert into a values (3)')
  expect(await migrate(database.url, folder)).toEqual({ applied: ['0003'], at: '0003' })
  expect((await database.pool.query('select n from a order by n')).rows).toEqual([{ n: 2 }, { n: 3 }])
})

test('applies each once when several start at the same time', async () => {
  await write('0001.sql', 'create table a (n int); insert into a values (1)')
  const all = await Promise.all([1, 2, 3, 4].map(() => migrate(database.url, folder)))
  expect(all.flatMap(({ applied }) => applied)).toEqual(['0001'])
})

test('leaves nothing of a migration that fails, and keeps those before it', async () => {
  await write('0001.sql', 'create table a (n int)')
  await write('0002.sql', 'create table b (n int); select 1/0;')
  await expect(migrate(database.url, folder)).rejects.toThrow('division by zero')
  expect((await database.pool.query(`select to_regclass('a') as a, to_regclass('b') as b`)).rows).toEqual([{ a: 'a', b: null }])
})

test('refuses a database that is newer than the code', async () => {
  await write('0001.sql', 'select 1')
  await write('0002.sql', 'select 2')
  await migrate(database.url, folder)
  await rm(new URL('0002.sql', folder))
  await expect(migrate(database.url, folder)).rejects.toThrow('The database is at migration 0002')
})

test('refuses an applied migration whose text has changed', async () => {
  await write('0001.sql', 'select 1')
  await migrate(database.url, folder)
  await write('0001.sql', 'select 2')
  await expect(migrate(database.url, folder)).rejects.toThrow('Migration 0001 is not the one that was applied')
})

test('the migrations of the product fit an empty database', async () => {
  const { rows } = await database.pool.query(`select count(*) as n from pg_tables where schemaname = 'public'`)
  expect(rows[0].n).toBeGreaterThan(15)
})
