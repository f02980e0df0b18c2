import { randomBytes, randomUUID } from 'node:crypto'
import { open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { stringify } from 'yaml'

export type Access = { readonly url: string; readonly password: string; readonly region: string }

/** The first user's password: made once, kept where only its owner reads it. A password that was given stays what it is. */
export async function adminPassword(state: string, given: string | null): Promise<string> {
  const file = join(state, 'admin-password')
  const kept = (await readFile(file, 'utf8').catch(() => '')).trim()
  if (kept) return kept
  const password = given ?? newPassword()
  await keepAdminPassword(state, password)
  return password
}

export const newPassword = (): string => randomBytes(18).toString('base64url')

export const keepAdminPassword = (state: string, password: string): Promise<void> =>
  writePrivate(join(state, 'admin-password'), `${password}\n`)

/** `clouds.yaml` and `openrc` for the admin, as every OpenStack client reads them. */
export async function writeAccess(state: string, access: Access): Promise<{ clouds: string; openrc: string }> {
  const auth = {
    auth_url: `${access.url}/identity/v3`,
    username: 'admin',
    password: access.password,
    project_name: 'admin',
    user_domain_name: 'Default',
    project_domain_name: 'Default',
  }
  const clouds = join(state, 'clouds.yaml')
  const openrc = join(state, 'openrc')
  const cloud = { auth, region_name: access.region, identity_api_version: 3 }
  await writePrivate(
    clouds,
    `# Written anew at each start; copy it to change it.\n${stringify({ clouds: { comeback: cloud } })}`,
  )
  const variables = { ...auth, region_name: access.region, identity_api_version: '3' }
  const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`
  await writePrivate(
    openrc,
    Object.entries(variables)
      .map(([name, value]) => `export OS_${name.toUpperCase()}=${quoted(value)}\n`)
      .join(''),
  )
  return { clouds, openrc }
}

/** Whole or not at all, on the disk when it resolves, and for its owner's eyes only. */
async function writePrivate(file: string, text: string): Promise<void> {
  const fresh = `${file}.new-${randomUUID()}`
  const handle = await open(fresh, 'wx', 0o600)
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(fresh, file)
}
