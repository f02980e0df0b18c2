/**
 * Who to sign in as, and where, found as other OpenStack clients find it: a cloud of a clouds.yaml (--os-cloud, OS_CLOUD), else
 * the OS_* variables, else the clouds.yaml that `npm start` leaves in the state directory.
 */
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { parse } from 'yaml'
import { z } from 'zod'
import { exitCodes, Stop, usage } from './exit.ts'

export type Credentials = {
  readonly authUrl: string
  readonly proof:
    | { readonly token: string }
    | { readonly userName?: string; readonly userId?: string; readonly password: string }
  readonly project: { readonly name?: string; readonly id?: string }
}

export type Environment = Readonly<Record<string, string | undefined>>

const text = z.union([z.string(), z.number()]).transform(String).optional()
const auth = z.object({
  auth_url: text,
  token: text,
  username: text,
  user_id: text,
  password: text,
  project_name: text,
  project_id: text,
})
type Auth = z.output<typeof auth>
const cloudsFile = z.object({ clouds: z.record(z.string(), z.object({ auth })) })

export async function findCredentials(env: Environment, cloud: string | undefined): Promise<Credentials> {
  const wanted = cloud ?? nonEmpty(env['OS_CLOUD'])
  if (wanted !== undefined) return credentialsOf(await cloudNamed(wanted, env), `cloud '${wanted}'`)
  if (nonEmpty(env['OS_AUTH_URL'])) return credentialsOf(fromVariables(env), 'the OS_* variables')
  const own = join(stateDirectory(env), 'clouds.yaml')
  const [name, found] = Object.entries((await readClouds(own)) ?? {})[0] ?? []
  if (!found) {
    throw new Stop(
      exitCodes.auth,
      'noCredentials',
      `Nobody to sign in as: no --os-cloud, OS_CLOUD or OS_AUTH_URL is given, and there is no ${own}. ` +
        'Source an openrc file, name a cloud, or set COMEBACK_STATE to the state directory of `npm start`.',
    )
  }
  return credentialsOf(found, `cloud '${name}' of ${own}`)
}

const nonEmpty = (value: string | undefined) => (value === '' ? undefined : value)
const stateDirectory = (env: Environment) => nonEmpty(env['COMEBACK_STATE']) ?? '.comeback'

function fromVariables(env: Environment): Auth {
  const names = Object.keys(auth.shape) as (keyof Auth)[]
  const given = Object.fromEntries(names.map((name) => [name, nonEmpty(env[`OS_${name.toUpperCase()}`])]))
  const { OS_TENANT_NAME, OS_TENANT_ID } = env
  return {
    ...auth.parse(given),
    project_name: nonEmpty(env['OS_PROJECT_NAME']) ?? nonEmpty(OS_TENANT_NAME),
    project_id: nonEmpty(env['OS_PROJECT_ID']) ?? nonEmpty(OS_TENANT_ID),
  }
}

async function cloudNamed(name: string, env: Environment): Promise<Auth> {
  const files = [
    nonEmpty(env['OS_CLIENT_CONFIG_FILE']),
    'clouds.yaml',
    join(env['XDG_CONFIG_HOME'] ?? join(homedir(), '.config'), 'openstack', 'clouds.yaml'),
    '/etc/openstack/clouds.yaml',
    join(stateDirectory(env), 'clouds.yaml'),
  ].filter((file) => file !== undefined)
  for (const file of files) {
    const found = (await readClouds(file))?.[name]
    if (found) return found
  }
  throw usage(`No cloud '${name}' in ${files.join(', ')}.`)
}

async function readClouds(file: string): Promise<Record<string, Auth> | null> {
  let content: string
  try {
    content = await readFile(file, 'utf8')
  } catch {
    return null
  }
  const read = cloudsFile.safeParse(parsed(content, file))
  if (!read.success) throw usage(`${file} is not a clouds.yaml: ${z.prettifyError(read.error)}`)
  return Object.fromEntries(Object.entries(read.data.clouds).map(([name, cloud]) => [name, cloud.auth]))
}

function parsed(content: string, file: string): unknown {
  try {
    return parse(content)
  } catch {
    throw usage(`${file} is not YAML.`)
  }
}

function credentialsOf(given: Auth, where: string): Credentials {
  const { auth_url, token, username, user_id, password, project_name, project_id } = given
  const missing = (what: string) => new Stop(exitCodes.auth, 'noCredentials', `In ${where}, ${what} is missing.`)
  if (auth_url === undefined) throw missing('auth_url')
  if (!URL.canParse(auth_url)) throw usage(`In ${where}, auth_url '${auth_url}' is not a URL.`)
  const project = {
    ...(project_name === undefined ? {} : { name: project_name }),
    ...(project_id === undefined ? {} : { id: project_id }),
  }
  if (token !== undefined) return { authUrl: auth_url, proof: { token }, project }
  if (username === undefined && user_id === undefined) throw missing('username')
  if (password === undefined) throw missing('password')
  const user = {
    ...(username === undefined ? {} : { userName: username }),
    ...(user_id === undefined ? {} : { userId: user_id }),
  }
  return { authUrl: auth_url, proof: { ...user, password }, project }
}
