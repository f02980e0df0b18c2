/** Every setting, once: its name in the environment, its unit, its default. Whoever starts a process reads them here. */
import { createHash } from 'node:crypto'
import { hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { z } from 'zod'

const GiB = 1024 ** 3

const seconds = (normal: number) =>
  z.coerce
    .number({ error: 'must be a number of seconds' })
    .positive('must be more than 0 seconds')
    .max(86_400 * 30, 'must be at most 30 days')
    .default(normal)
const listenAddress = z
  .string()
  .regex(/^(\[[0-9a-f:]+\]|[^:\s]+):\d{1,5}$/i, 'must be host:port')
  .refine((text) => Number(text.slice(text.lastIndexOf(':') + 1)) < 65_536, 'must have a port up to 65535')

/** Settings that controller, agent and launcher share. */
const shared = z.object({
  /** Directory that holds everything that must survive. */
  COMEBACK_STATE: z
    .string()
    .min(1)
    .default('./.comeback')
    .transform((path) => resolve(path)),
  /** Directory for sockets and process notes: short, and gone after a reboot. Default: derived from the state's path. */
  COMEBACK_RUN: z.string().min(1).optional(),
  COMEBACK_LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
  /** Name of this host, as `openstack compute service list` shows it. */
  COMEBACK_HOST_NAME: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9.-]{0,62}$/, 'must be a host name')
    .default(hostname()),
})

const controller = shared.extend({
  COMEBACK_LISTEN: listenAddress.default('127.0.0.1:8774'),
  /** An external PostgreSQL; default: a private one in the state directory. */
  COMEBACK_DATABASE_URL: z
    .string()
    .regex(/^postgres(ql)?:\/\//, 'must begin with postgresql://')
    .optional(),
  /** What clients are told the server's address is; default: what they called it. */
  COMEBACK_PUBLIC_URL: z.url().optional(),
  COMEBACK_REGION: z.string().min(1).default('RegionOne'),
  /** Agents' addresses, separated by commas: `unix:/path` or `https://host:port`. Default: the one on this box. */
  COMEBACK_AGENTS: z.string().optional(),
  /** This controller's key and certificate towards agents of other hosts, and the authority of theirs. */
  COMEBACK_AGENT_KEY: z.string().optional(),
  COMEBACK_AGENT_CERT: z.string().optional(),
  COMEBACK_AGENT_CA: z.string().optional(),
  /** A file of policy rules that override the defaults. */
  COMEBACK_POLICY_FILE: z.string().optional(),
  /** The key under which secrets in the database are sealed, in hexadecimal; default: `secret.key` in the state directory, made at the first start. */
  COMEBACK_SECRET_KEY_FILE: z.string().min(1).optional(),
  /** Password of the first user, `admin`; needed only at the very first start. */
  COMEBACK_ADMIN_PASSWORD: z.string().min(8).optional(),
  COMEBACK_TOKEN_SECONDS: seconds(3600),
  /** Largest image that may be uploaded, in GiB. */
  COMEBACK_MAX_IMAGE_GIB: z.coerce.number().positive().default(512),
  /** How long synchronous answers wait for their operation, which goes on after that. */
  COMEBACK_WAIT_SECONDS: seconds(600),
  /** A host not heard of for longer counts as down. */
  COMEBACK_HOST_SILENT_SECONDS: seconds(15),
  /** How long a guest's file systems may stay frozen for a snapshot. */
  COMEBACK_FREEZE_SECONDS: seconds(10),
  /** Free space, in MiB, below which nothing new is made in a pool. */
  COMEBACK_POOL_RESERVE_MIB: z.coerce.number().nonnegative().default(512),
  /** Free space of a pool, in percent of the whole, below which is warned: in the log, in `/metrics` and in preflights. */
  COMEBACK_POOL_WARN_PERCENT: z.coerce.number().min(0).max(100).default(15),
  /** Volume operations (snapshots, backups, restores) that one user may have in flight. */
  COMEBACK_VOLUME_OPERATIONS_PER_USER: z.coerce.number().int().positive().default(3),
  /** A volume operation without progress for so long is shown as failed and taken back. */
  COMEBACK_VOLUME_OPERATION_STALLED_SECONDS: seconds(7200),
  /** Backups, verifications and sweeps of vaults that this controller runs at once; the others wait. */
  COMEBACK_BACKUPS_AT_ONCE: z.coerce.number().int().positive().default(4),
  /** Between two looks for what a vault holds in vain of a volume; it goes at the second one. */
  COMEBACK_VAULT_SWEEP_SECONDS: seconds(600),
  /** How often the database is dumped into the pool. */
  COMEBACK_DUMP_SECONDS: seconds(3600),
})

const agent = shared.extend({
  /** The pool's directory; default: `pool` in the state directory. */
  COMEBACK_POOL: z.string().min(1).optional(),
  COMEBACK_POOL_NAME: z.string().min(1).default('local'),
  /** User that QEMU runs as when the agent is root. */
  COMEBACK_QEMU_USER: z.string().default('comeback'),
  /** Also listen for controllers of other hosts, with mutual TLS. */
  COMEBACK_AGENT_LISTEN: listenAddress.optional(),
  COMEBACK_AGENT_KEY: z.string().optional(),
  COMEBACK_AGENT_CERT: z.string().optional(),
  COMEBACK_AGENT_CA: z.string().optional(),
})

/** The settings that each process reads. */
export const settingNames = { controller: Object.keys(controller.shape), agent: Object.keys(agent.shape) } as const

type Environment = Readonly<Record<string, string | undefined>>

/** A wrong setting is said in one sentence, with its name. */
export class BadSetting extends Error {
  override readonly name = 'BadSetting'
}

function read<Schema extends z.ZodType>(schema: Schema, env: Environment): z.infer<Schema> {
  const ours = Object.fromEntries(Object.entries(env).filter(([name, value]) => name.startsWith('COMEBACK_') && value !== ''))
  const result = schema.safeParse(ours)
  if (result.success) return result.data
  const [issue] = result.error.issues
  throw new BadSetting(`The setting ${String(issue?.path[0])} is not usable: ${issue?.message}.`)
}

type TlsFiles = {
  COMEBACK_AGENT_KEY?: string | undefined
  COMEBACK_AGENT_CERT?: string | undefined
  COMEBACK_AGENT_CA?: string | undefined
}

function tlsFiles({ COMEBACK_AGENT_KEY: keyFile, COMEBACK_AGENT_CERT: certFile, COMEBACK_AGENT_CA: caFile }: TlsFiles) {
  return keyFile && certFile && caFile ? { keyFile, certFile, caFile } : null
}

/**
 * Where sockets live: short whatever the state's path is, for a socket's address has at most 107 bytes. Not in XDG_RUNTIME_DIR,
 * which is taken away when its user logs out, while machines run on.
 */
function runtimeDirectory(state: string): string {
  const name = createHash('sha256').update(state).digest('hex').slice(0, 12)
  if (process.getuid?.() === 0) return join('/run/comeback', name)
  return join(`/tmp/comeback-${process.getuid?.() ?? 0}`, name)
}

const sharedOf = (settings: z.infer<typeof shared>) => ({
  state: settings.COMEBACK_STATE,
  run: settings.COMEBACK_RUN ?? runtimeDirectory(settings.COMEBACK_STATE),
  logLevel: settings.COMEBACK_LOG_LEVEL,
  hostName: settings.COMEBACK_HOST_NAME,
})

export function controllerConfig(env: Environment = process.env) {
  const settings = read(controller, env)
  const base = sharedOf(settings)
  const split = settings.COMEBACK_LISTEN.lastIndexOf(':')
  return {
    ...base,
    listen: {
      host: settings.COMEBACK_LISTEN.slice(0, split).replace(/^\[|\]$/g, ''),
      port: Number(settings.COMEBACK_LISTEN.slice(split + 1)),
    },
    databaseUrl: settings.COMEBACK_DATABASE_URL ?? null,
    /** The private PostgreSQL, used when no other is given. */
    privatePostgres: {
      dataDir: join(base.state, 'postgres'),
      socketDir: join(base.run, 'postgres'),
      logFile: join(base.state, 'log', 'postgres.log'),
    },
    publicUrl: settings.COMEBACK_PUBLIC_URL?.replace(/\/+$/, '') ?? null,
    region: settings.COMEBACK_REGION,
    agents: settings.COMEBACK_AGENTS?.split(',').map((address) => address.trim()) ?? [`unix:${agentSocket(base.run)}`],
    agentTls: tlsFiles(settings),
    policyFile: settings.COMEBACK_POLICY_FILE ?? null,
    secretKeyFile: settings.COMEBACK_SECRET_KEY_FILE ?? null,
    adminPassword: settings.COMEBACK_ADMIN_PASSWORD ?? null,
    tokenSeconds: settings.COMEBACK_TOKEN_SECONDS,
    maxImageBytes: settings.COMEBACK_MAX_IMAGE_GIB * GiB,
    waitSeconds: settings.COMEBACK_WAIT_SECONDS,
    hostSilentSeconds: settings.COMEBACK_HOST_SILENT_SECONDS,
    freezeSeconds: settings.COMEBACK_FREEZE_SECONDS,
    poolReserveBytes: settings.COMEBACK_POOL_RESERVE_MIB * 1024 ** 2,
    poolWarnPercent: settings.COMEBACK_POOL_WARN_PERCENT,
    volumeOperationsPerUser: settings.COMEBACK_VOLUME_OPERATIONS_PER_USER,
    volumeOperationStalledSeconds: settings.COMEBACK_VOLUME_OPERATION_STALLED_SECONDS,
    backupsAtOnce: settings.COMEBACK_BACKUPS_AT_ONCE,
    vaultSweepSeconds: settings.COMEBACK_VAULT_SWEEP_SECONDS,
    dumpSeconds: settings.COMEBACK_DUMP_SECONDS,
  }
}

export function agentConfig(env: Environment = process.env) {
  const settings = read(agent, env)
  const base = sharedOf(settings)
  const { COMEBACK_AGENT_LISTEN: listen, COMEBACK_AGENT_KEY: key, COMEBACK_AGENT_CERT: cert, COMEBACK_AGENT_CA: ca } = settings
  if (listen && !(key && cert && ca))
    throw new BadSetting('COMEBACK_AGENT_LISTEN also needs COMEBACK_AGENT_KEY, COMEBACK_AGENT_CERT and COMEBACK_AGENT_CA.')
  return {
    ...base,
    socket: agentSocket(base.run),
    pool: { directory: settings.COMEBACK_POOL ?? join(base.state, 'pool'), name: settings.COMEBACK_POOL_NAME },
    qemuUser: settings.COMEBACK_QEMU_USER,
    tls: listen && key && cert && ca ? { listen, key, cert, ca } : null,
  }
}

/** The agent's socket on this box. */
export const agentSocket = (run: string): string => join(run, 'agent.sock')

export type ControllerConfig = ReturnType<typeof controllerConfig>
export type AgentConfig = ReturnType<typeof agentConfig>
