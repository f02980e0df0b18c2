/** The Debian packages that this needs: says which are missing and why, and installs them where it may. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { access, readdir } from 'node:fs/promises'
import { refuse } from '../domain/refusals.ts'
import { say } from './say.ts'

export type Need = {
  readonly package: string
  readonly why: string
  /** It is there if one of these files is; a folder must have a file in it that matches. */
  readonly files: readonly string[]
}

const programs = (name: string) => ['/usr/bin', '/usr/sbin', '/usr/local/bin'].map((folder) => `${folder}/${name}`)

export const machineNeeds: readonly Need[] = [
  { package: 'qemu-system-x86', why: 'runs the machines', files: programs('qemu-system-x86_64') },
  { package: 'qemu-utils', why: 'makes and merges disk layers', files: programs('qemu-storage-daemon') },
  {
    package: 'qemu-block-extra',
    why: 'lets QEMU reach network storage',
    files: ['/usr/lib/x86_64-linux-gnu/qemu/block-rbd.so'],
  },
]

export const databaseNeed = (external: boolean): Need =>
  external
    ? { package: 'postgresql-client', why: 'dumps the database into the pool', files: programs('pg_dump') }
    : { package: 'postgresql', why: 'keeps the state (a private server; no cluster of the system is made)', files: serverFiles }

const serverFiles = [15, 16, 17, 18, 19].map((version) => `/usr/lib/postgresql/${version}/bin/postgres`)

export const clientNeeds: readonly Need[] = ['openstack', 'nova', 'cinder'].map((name) => ({
  package: `python3-${name}client`,
  why: 'a real client to test with',
  files: programs(name),
}))

const present = async ({ files }: Need): Promise<boolean> => {
  const found = await Promise.all(
    files.map((file) =>
      access(file).then(
        () => true,
        () => false,
      ),
    ),
  )
  return found.includes(true)
}

export async function missing(needs: readonly Need[]): Promise<readonly Need[]> {
  const there = await Promise.all(needs.map(present))
  return needs.filter((_, n) => !there[n])
}

/** Installs what is missing, as root or through sudo; otherwise refuses with the one line to run. */
export async function ensurePackages(needs: readonly Need[]): Promise<void> {
  const lacking = await missing(needs)
  if (lacking.length === 0) return
  const names = lacking.map((need) => need.package)
  const line = `apt-get install -y --no-install-recommends ${names.join(' ')}`
  say(`Missing: ${lacking.map((need) => `${need.package} (${need.why})`).join(', ')}.`)
  const become = await privilege()
  if (!become) throw refuse.setup({ why: `They cannot be installed from here. Run this and start again:\n  sudo ${line}` })
  say(`Installing them: ${[...become, line].join(' ')}`)
  const withoutCluster = names.includes('postgresql') ? await forbidCluster(become) : () => {}
  try {
    const lists = await readdir('/var/lib/apt/lists').catch(() => [])
    const known = lists.some((name) => name.endsWith('_Packages') || name.endsWith('_Packages.lz4'))
    if (!known || !(await apt(become, ['install', ...names]))) {
      if (!(await apt(become, ['update'])) || !(await apt(become, ['install', ...names]))) {
        throw refuse.setup({ why: `apt-get failed (its words are above). When it works again, run this:\n  sudo ${line}` })
      }
    }
  } finally {
    withoutCluster()
  }
  const still = await missing(needs)
  if (still.length > 0)
    throw refuse.setup({ why: `Still missing after the installation: ${still.map((need) => need.package).join(', ')}.` })
}

/** How to become root: not at all, by sudo, or (null) impossible. */
async function privilege(): Promise<readonly string[] | null> {
  if (!(await present({ package: 'apt', why: '', files: ['/usr/bin/apt-get'] }))) return null
  if (process.getuid?.() === 0) return []
  const quiet = spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore', timeout: 10_000 })
  if (quiet.status === 0) return ['sudo', '-n']
  return quiet.error === undefined && process.stdin.isTTY ? ['sudo'] : null // asks for the password
}

const quietly = { DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_MODE: 'l' }

async function apt(become: readonly string[], [verb = '', ...names]: readonly string[]): Promise<boolean> {
  const options = ['-q', '-y', '-o', 'DPkg::Lock::Timeout=300', '-o', 'Dpkg::Use-Pty=0']
  if (verb === 'install') options.push('--no-install-recommends')
  const environment = Object.entries(quietly).map(([name, value]) => `${name}=${value}`)
  const [program = '', ...args] = [...become, 'env', ...environment, 'apt-get', ...options, verb, ...names]
  const child = spawn(program, args, { stdio: ['inherit', 2, 2], timeout: 900_000 })
  const [code] = await once(child, 'exit')
  return code === 0
}

/** Keeps Debian's postgresql from making a cluster of the system, while it is being installed. Returns how to take that back. */
async function forbidCluster(become: readonly string[]): Promise<() => void> {
  const file = '/etc/postgresql-common/createcluster.d/comeback.conf'
  const root = (args: readonly string[], input?: string) => {
    const [program = '', ...rest] = [...become, ...args]
    spawnSync(program, rest, {
      stdio: [input === undefined ? 'ignore' : 'pipe', 'ignore', 2],
      timeout: 60_000,
      ...(input !== undefined && { input }),
    })
  }
  root(['mkdir', '-p', '/etc/postgresql-common/createcluster.d'])
  root(['tee', file], 'create_main_cluster = false\n')
  return () => root(['rm', '-f', file])
}
