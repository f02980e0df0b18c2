/** The agent as a process. It ends on SIGTERM or SIGINT and leaves every machine running. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import pino from 'pino'
import { type AgentConfig, agentConfig } from '../config.ts'
import { refuse } from '../domain/refusals.ts'
import type { QemuUser } from './machines/environment.ts'
import type { Listening } from './server.ts'
import { startAgent } from './start.ts'

/** A machine that a full pool stopped goes on when so much is free again (a tenth of a pool smaller than ten times that). */
const resumeFreeBytes = 256 * 1024 ** 2

const config = agentConfig()
const log = pino(
  { name: 'agent', level: config.logLevel, base: { host: config.hostName } },
  pino.destination({ dest: 1, sync: true }),
)

try {
  const agent = await startAgent({
    name: config.hostName,
    stateDirectory: join(config.state, 'agent'),
    runDirectory: config.run,
    pools: [config.pool],
    qemuUser: await userNamed(config.qemuUser),
    lowUser: await userNamed('nobody'),
    accelerator: 'auto',
    listening: [{ over: 'unix', path: config.socket }, ...(await overTls(config))],
    resumeFreeBytes,
    mover: new URL('./mover/main.ts', import.meta.url).pathname,
    log,
  })
  // A second signal, as a terminal's Ctrl-C through a parent brings it, must not cut the ending short.
  let isEnding = false
  const end = (): void => {
    if (isEnding) return
    isEnding = true
    void agent.close().then(() => process.exit(0))
  }
  process.on('SIGTERM', end).on('SIGINT', end)
} catch (error) {
  log.fatal({ err: error }, 'the agent cannot start')
  process.exit(1)
}

/** Null when the agent is not root, and so cannot become anybody else. */
async function userNamed(name: string): Promise<QemuUser> {
  if (process.getuid?.() !== 0) return null
  const line = (await readFile('/etc/passwd', 'utf8')).split('\n').find((one) => one.startsWith(`${name}:`))
  const [, , uid, gid] = line?.split(':') ?? []
  if (uid === undefined || gid === undefined)
    throw refuse.setup({ why: `There is no user '${name}'. Make it: useradd --system --no-create-home ${name}` })
  return { uid: Number(uid), gid: Number(gid) }
}

async function overTls({ tls }: AgentConfig): Promise<Listening[]> {
  if (tls === null) return []
  const split = tls.listen.lastIndexOf(':')
  const [key, cert, ca] = await Promise.all([tls.key, tls.cert, tls.ca].map((path) => readFile(path, 'utf8')))
  if (!key || !cert || !ca)
    throw refuse.setup({ why: 'The key, the certificate or the authority of the agent is an empty file.' })
  return [
    {
      over: 'tls',
      host: tls.listen.slice(0, split).replace(/^\[|\]$/g, ''),
      port: Number(tls.listen.slice(split + 1)),
      key,
      cert,
      ca,
    },
  ]
}
