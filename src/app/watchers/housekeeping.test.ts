import { expect, test } from 'vitest'
import { makeDatabase } from '../../../test/support/database.ts'
import { asId, newId } from '../../domain/ids.ts'
import { ensureAdmin } from '../identity/accounts.ts'
import { housekeepingWatcher } from './housekeeping.ts'

const { db } = await makeDatabase()
const hours = (n: number) => new Date(Date.now() + n * 3_600_000)

test('ended tokens and left uploads go, those of today stay', async () => {
  const { user } = await ensureAdmin(db, 'secret')
  const token = (name: string, expires_at: Date) => ({
    hash: Buffer.from(name),
    user_id: user,
    project_id: null,
    roles: [],
    body: '{}',
    expires_at,
  })
  await db
    .insertInto('tokens')
    .values([token('old', hours(-30)), token('ended', hours(-1)), token('good', hours(1))])
    .execute()
  const image = (name: string, updated_at: Date) => ({
    id: newId<never>(),
    project_id: asId<never>('p'),
    name,
    status: 'saving' as const,
    visibility: 'private' as const,
    updated_at,
  })
  await db
    .insertInto('images')
    .values([image('left', hours(-30)), image('going on', hours(-1))])
    .execute()

  await housekeepingWatcher(db, 1000).look(new AbortController().signal)

  const tokens = await db.selectFrom('tokens').select('hash').orderBy('expires_at').execute()
  expect(tokens.map(({ hash }) => hash.toString())).toEqual(['ended', 'good'])
  const images = await db.selectFrom('images').select(['name', 'status']).orderBy('updated_at').execute()
  expect(images).toEqual([
    { name: 'left', status: 'queued' },
    { name: 'going on', status: 'saving' },
  ])
})
