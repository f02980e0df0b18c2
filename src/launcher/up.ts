/** Brings everything up that is not: attaches to what runs, starts what does not, changes nothing else. */
import { mkdir } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type AgentConfig, type ControllerConfig, settingNames } from '../config.ts'
import { refuse } from '../domain/refusals.ts'
import { type Access, adminPassword, writeAccess } from './credentials.ts'
import { databaseUp } from './database.ts'
import { lastWords } from './last-words.ts'
import { withLock } from './lock.ts'
import { databaseNeed, ensurePackages, machineNeeds } from './packages.ts'
import { type Places, preparePlaces } from './places.ts'
import { type Address, addressProblem, healthOf, holderOf } from './ports.ts'
import { findService, isAlive, programs, type Running, type Service, startService } from './processes.ts'
import { say, step } from './say.ts'
import { ensureUser } from './system-user.ts'

export type Settings = { readonly controller: ControllerConfig; readonly agent: AgentConfig }

export type Up = Access & {
  readonly places: Places
  readonly clouds: string
  readonly openrc: string
  readonly databaseUrl: string
  /** A line for each part: "controller: started". */
  readonly parts: readonly string[]
}

const slowestStartMs = 60_000

export async function bringUp(settings: Settings, run: Readonly<Record<Service, string>> = programs): Promise<Up> {
  const { controller, agent } = settings
  await ensurePackages([...machineNeeds, databaseNeed(controller.databaseUrl !== null)])
  await ensureUser(agent.qemuUser)
  const places = await preparePlaces(controller.state, controller.run)
  return await withLock(
    `launcher ${places.run}`,
    () => startAll(settings, places, run),
    () => say('Another start or stop of this state is under way; waiting for it.'),
  )
}

async function startAll({ controller, agent }: Settings, places: Places, run: Readonly<Record<Service, string>>): Promise<Up> {
  const logs = join(places.stateInside, 'log')
  await mkdir(logs, { recursive: true, mode: 0o755 })
  const url = urlOf(controller)
  const password = await adminPassword(places.state, controller.adminPassword)
  const shared = { COMEBACK_STATE: places.stateInside, COMEBACK_RUN: places.run, COMEBACK_HOST_NAME: controller.hostName }
  await refuseOtherAddress(controller, places, run.controller)
  const startController = async () => {
    const database = await databaseUp(controller.databaseUrl, places)
    const environment = {
      ...shared,
      COMEBACK_DATABASE_URL: database.url,
      COMEBACK_LISTEN: listenText(controller),
      COMEBACK_ADMIN_PASSWORD: password,
    }
    return {
      database,
      how: await ensureService('controller', places, logs, environment, run, async () => (await healthOf(url)) !== null),
    }
  }
  const [{ database, how: controllerHow }, agentHow] = await Promise.all([
    startController(),
    ensureService('agent', places, logs, shared, run, () => socketAnswers(agent.socket)),
  ])
  await step('Waiting for the hosts', () => hostsMet(url, places))
  const access = { url, password, region: controller.region }
  const files = await writeAccess(places.state, access)
  const parts = [`PostgreSQL: ${database.how}`, `agent: ${agentHow}`, `controller: ${controllerHow}`]
  return { ...access, ...files, places, databaseUrl: database.url, parts }
}

async function ensureService(
  service: Service,
  places: Places,
  logs: string,
  env: Readonly<Record<string, string>>,
  run: Readonly<Record<Service, string>>,
  isReady: () => Promise<boolean>,
): Promise<'attached' | 'started'> {
  return await step(`Starting the ${service}`, async () => {
    let running = await findService(service, places.run, run[service])
    if (running) tellUnapplied(service, running, env)
    let ended: string | undefined
    const start = async () => {
      const started = await startService(service, logs, env, run[service])
      void started.ended.then((how) => {
        ended = how
      })
    }
    if (running === null) await start()
    for (const end = Date.now() + slowestStartMs; Date.now() < end; await sleep(20)) {
      if (await isReady()) return running ? 'attached' : 'started'
      if (ended !== undefined) break
      if (running === null || (await isAlive(running))) continue
      running = null // it was about to end
      await start()
    }
    const log = join(places.state, 'log', `${service}.log`)
    if (ended === undefined)
      throw refuse.setup({
        why: `The ${service} does not answer after ${slowestStartMs / 1000} s. Its log may say why: ${log}`,
      })
    const words = await lastWords(join(logs, `${service}.log`))
    throw refuse.setup({
      why:
        words === null
          ? `The ${service} has ended (${ended}). Its log may say why: ${log}`
          : `${words}\nThe ${service} has ended; its log: ${log}`,
    })
  })
}

/** Until the controller has met an agent it knows no pool, and nothing can be made. A host elsewhere that does not answer keeps nobody out. */
async function hostsMet(url: string, places: Places): Promise<void> {
  let agents = { configured: 0, met: 0 }
  for (const end = Date.now() + slowestStartMs; Date.now() < end; await sleep(20)) {
    agents = (await healthOf(url))?.agents ?? agents
    if (agents.configured > 0 && agents.met === agents.configured) return
  }
  const missing = `${agents.configured - agents.met} of ${agents.configured} agents did not answer the controller within ${slowestStartMs / 1000} s`
  if (agents.met > 0) return say(`${missing}. Their hosts join as soon as they do.`)
  throw refuse.setup({ why: `${missing}. Its log says why: ${join(places.state, 'log', 'controller.log')}` })
}

/** A process that runs keeps the settings that it was started with. */
function tellUnapplied(service: Service, running: Running, env: Readonly<Record<string, string>>): void {
  const wanted = { ...process.env, ...env }
  const unapplied = settingNames[service].filter(
    (name) => name !== 'COMEBACK_ADMIN_PASSWORD' && (wanted[name] || undefined) !== (running.env.get(name) || undefined),
  )
  if (unapplied.length > 0) {
    const which = unapplied.join(' and ')
    say(
      `The ${service} runs with another ${which} than is set now. To apply it: npm run down -- --leave-machines, then npm start.`,
    )
  }
}

const listenText = ({ listen: { host, port } }: ControllerConfig): string =>
  `${host.includes(':') ? `[${host}]` : host}:${port}`

/** How a client on this box reaches it. */
export function urlOf(controller: ControllerConfig): string {
  const { host, port } = controller.listen
  const reachable = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '[::1]' : host.includes(':') ? `[${host}]` : host
  return `http://${reachable}:${port}`
}

/** Before anything is started: is the address ours to take, or does our controller have it already? */
async function refuseOtherAddress(controller: ControllerConfig, places: Places, program: string): Promise<void> {
  const asked = listenText(controller)
  const running = await findService('controller', places.run, program)
  const has = running?.env.get('COMEBACK_LISTEN')
  if (running && has !== asked) {
    throw refuse.setup({
      why: `This state is already served at ${has}, not at ${asked}. Run 'npm run down' with the same COMEBACK_STATE first.`,
    })
  }
  if (running) return
  const { problem, holder } = await takenBy(controller.listen)
  if (problem === null) return
  const why =
    problem === 'EADDRINUSE'
      ? `is taken by ${holder ?? 'another program'}. Stop that, or choose`
      : `is no address of this machine that can be listened on (${problem}). Choose`
  throw refuse.setup({ why: `${asked} ${why} another address: COMEBACK_LISTEN=127.0.0.1:8775 npm start` })
}

/** How long the last threads of a killed process may hold an address; by then nothing shows whose they are. */
const letGoMs = 5_000

async function takenBy(address: Address): Promise<{ problem: string | null; holder: string | null }> {
  for (const end = Date.now() + letGoMs; ; await sleep(50)) {
    const problem = await addressProblem(address)
    const holder = problem === 'EADDRINUSE' ? await holderOf(address.port) : null
    if (problem !== 'EADDRINUSE' || holder !== null || Date.now() > end) return { problem, holder }
  }
}

const socketAnswers = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = createConnection(path)
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
