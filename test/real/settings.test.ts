/** A database that is not ours, and a policy file: what `npm start` does with settings that most leave alone. */
import { access, chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { connect } from '../../src/adapters/database/connect.ts'
import { stopPostgres } from '../../src/adapters/database/postmaster.ts'
import { ensureDatabase, ensurePostgres } from '../../src/adapters/database/private-postgres.ts'
import { Installation } from '../support/installation.ts'
import type { OpenStack } from '../support/openstack.ts'

let folder: string
let database: pg.Pool
let box: Installation
let member: OpenStack
let admin: OpenStack
let server: string
const dataDir = () => join(folder, 'data')

const rollbackOf = (cloud: OpenStack) =>
  cloud.post(`/compute/v2.1/servers/${crypto.randomUUID()}/action`, {
    'xloud-rollback-dry-run': { snapshot_image_id: crypto.randomUUID() },
  })

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'comeback-settings-'))
  const policy = join(folder, 'policy.yaml')
  await writeFile(policy, '"volume:create": "role:admin"\n"os_compute_api:flavors": "@"\n')
  await chmod(folder, 0o755)
  const places = { dataDir: dataDir(), socketDir: join(folder, 'run'), logFile: join(folder, 'postgres.log') }
  await ensurePostgres(places)
  const url = await ensureDatabase(places, 'theirs')
  database = connect(url)
  box = await Installation.start({ COMEBACK_DATABASE_URL: url, COMEBACK_POLICY_FILE: policy })
  admin = await box.logIn()
  const { project } = await admin.post<{ project: { id: string } }>('/identity/v3/projects', { project: { name: 'blue' } })
  const user = { name: 'mia', password: 'mia-secret', default_project_id: project.id }
  const made = await admin.post<{ user: { id: string } }>('/identity/v3/users', { user })
  const { roles } = await admin.get<{ roles: { id: string; name: string }[] }>('/identity/v3/roles')
  const role = roles.find(({ name }) => name === 'member')!.id
  await admin.ask('PUT', `/identity/v3/projects/${project.id}/users/${made.user.id}/roles/${role}`)
  member = await box.logIn('mia', 'mia-secret', 'blue')
})
afterAll(async () => {
  await box?.end()
  await database?.end()
  await stopPostgres(dataDir())
  await rm(folder, { recursive: true, force: true })
})

test('with COMEBACK_DATABASE_URL everything lies there, and no PostgreSQL of our own is made', async () => {
  server = await admin.createServer(await box.guestImage())
  const { rows } = await database.query('select id from instances where deleted_at is null')
  expect(rows).toEqual([{ id: server }])
  expect(await box.pids('database')).toEqual([])
  await expect(access(join(box.state, 'postgres'))).rejects.toMatchObject({ code: 'ENOENT' })
})

test('a policy file overrides the rules it names, and only these', async () => {
  const volume = { volume: { size: 1, name: 'mine' } }
  await expect(member.post(member.volumePath('/volumes'), volume)).rejects.toThrow(/403.*Policy doesn't allow volume:create/)
  await admin.post(admin.volumePath('/volumes'), volume)
  await expect(rollbackOf(member)).rejects.toThrow(/404/)
  expect(await member.get(member.volumePath('/volumes'))).toMatchObject({ volumes: [] })
})

test('down stops ours and leaves the database to its owner; up finds everything as it was', async () => {
  await box.shell(server).run('true') // it has booted, and hears its power button
  expect((await box.down()).join()).not.toMatch(/PostgreSQL/)
  const { rows } = await database.query('select count(*)::int as n from volumes where deleted_at is null')
  expect(rows).toEqual([{ n: 3 }]) // two of the instance, one alone
  await box.up()
  const again = await box.logIn()
  const { servers } = await again.get<{ servers: object[] }>('/compute/v2.1/servers')
  expect(servers).toHaveLength(1)
})
