/**
 * The OpenStack commands of the system, unmodified. Several `openstack` commands run in one process through its standard input,
 * which saves a second each; they are the same commands with the same requests, but for the log-in.
 */
import { spawn } from 'node:child_process'

export type Cloud = { readonly url: string; readonly user: string; readonly password: string; readonly project: string }

export type Said = {
  readonly out: string
  readonly err: string
  // biome-ignore lint/suspicious/noExplicitAny: what `-f json` printed, looked into by tests.
  readonly json: any
}

const mark = 'next-command'

const environment = ({ url, user, password, project }: Cloud) => ({
  PATH: '/usr/bin:/bin:/usr/sbin:/sbin',
  HOME: '/nonexistent',
  LANG: 'C.UTF-8',
  PYTHONUNBUFFERED: '1',
  // The client's own prompt would take `;` and `>` for itself.
  SAY_MARK: `echo ${mark}; echo ${mark} >&2`,
  OS_AUTH_URL: `${url}/identity/v3`,
  OS_USERNAME: user,
  OS_PASSWORD: password,
  OS_PROJECT_NAME: project,
  OS_USER_DOMAIN_NAME: 'Default',
  OS_PROJECT_DOMAIN_NAME: 'Default',
  OS_REGION_NAME: 'RegionOne',
})

type Ended = { readonly code: number | null; readonly out: string; readonly err: string }

function run(cloud: Cloud, command: string, args: readonly string[], input = ''): Promise<Ended> {
  const child = spawn(command, args, { env: environment(cloud), stdio: 'pipe', timeout: 240_000 })
  let out = ''
  let err = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text
  })
  child.stdin.on('error', () => {}).end(input)
  return new Promise((resolve, reject) => child.on('error', reject).on('close', (code) => resolve({ code, out, err })))
}

const notErrors = /^(nova CLI is deprecated.*|\(node:.*|\s*)$/

/** What each of them said, in order. Options such as `--os-compute-api-version` are given to the process, for all of them. */
export async function openstack(cloud: Cloud, commands: readonly string[], options: readonly string[] = []): Promise<Said[]> {
  const lines = commands.flatMap((command) => [command, '!eval "$SAY_MARK"'])
  const { out, err } = await run(cloud, '/usr/bin/openstack', options, `${lines.join('\n')}\n`)
  const outs = out.split(`${mark}\n`)
  const errs = err.split(`${mark}\n`)
  if (outs.length !== commands.length + 1) throw new Error(`openstack stopped after ${outs.length - 1} commands: ${err}`)
  return commands.map((_command, index) => said(outs[index] ?? '', errs[index] ?? ''))
}

/** The same, and none of them may complain. */
export async function openstackWell(
  cloud: Cloud,
  commands: readonly string[],
  options: readonly string[] = [],
): Promise<Said[]> {
  const all = await openstack(cloud, commands, options)
  for (const [index, { err }] of all.entries()) if (err !== '') throw new Error(`openstack ${commands[index]}: ${err}`)
  return all
}

/** One command line in a process of its own, such as `nova list`. */
export async function command(cloud: Cloud, line: string): Promise<Said & { readonly code: number | null }> {
  const [name = '', ...args] = line.split(' ')
  const { code, out, err } = await run(cloud, `/usr/bin/${name}`, args)
  return { code, ...said(out, err) }
}

function said(out: string, err: string): Said {
  const start = out.search(/[[{]/)
  let json: unknown
  try {
    json = start < 0 ? undefined : JSON.parse(out.slice(start))
  } catch {
    json = undefined
  }
  const complaints = err.split('\n').filter((line) => !notErrors.test(line))
  return { out, err: complaints.join('\n'), json }
}
