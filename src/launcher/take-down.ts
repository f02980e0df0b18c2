/** Stops what was started for a state, in the order in which nothing is lost, and says what it did. */
import { readdir, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { postmasterOf, stopPostgres } from '../adapters/database/postmaster.ts'
import { postgresUrl } from '../adapters/database/private-postgres.ts'
import { privatePostgres } from './database.ts'
import { withLock } from './lock.ts'
import { endQemu, stopMachines } from './machines.ts'
import { findService, programs, type Running, type Service, stopProcess } from './processes.ts'
import { say, step } from './say.ts'
import type { Settings } from './up.ts'

const guestGraceSeconds = 20

/** What else may have been started for a state; each says what it ended, or null. */
export type DownHook = (state: string, runDir: string) => Promise<string | null>

export type DownOptions = {
  readonly hooks?: readonly DownHook[]
  /** Guests run on, and the next start finds them: for another version, or other settings. */
  readonly leaveMachines?: boolean
}

export async function takeDown(
  { controller, agent }: Settings,
  run: Readonly<Record<Service, string>> = programs,
  { hooks = [], leaveMachines = false }: DownOptions = {},
): Promise<readonly string[]> {
  return await withLock(
    `launcher ${controller.run}`,
    async () => {
      const did: string[] = []
      const services = {
        controller: await findService('controller', controller.run, run.controller),
        agent: await findService('agent', controller.run, run.agent),
      }
      did.push(...(await stopService('controller', services.controller, 20_000)))
      const url = controller.databaseUrl ?? (await privateUrl(controller.state, controller.run))
      if (services.agent && !leaveMachines) did.push(...(await machinesDown(agent.socket, url)))
      did.push(...(await stopService('agent', services.agent, 10_000)))
      if (!leaveMachines) did.push(...(await qemuDown(controller.state, controller.run)))
      for (const hook of hooks) did.push(...[await hook(controller.state, controller.run)].filter((line) => line !== null))
      if (await step('Stopping PostgreSQL', () => stopPostgres(join(controller.state, 'postgres'))))
        did.push('PostgreSQL: stopped')
      if (!leaveMachines) await clearRun(controller.run)
      return did
    },
    () => say('Another start or stop of this state is under way; waiting for it.'),
  )
}

async function qemuDown(state: string, runDir: string): Promise<string[]> {
  const left = await step('Stopping what is left of QEMU', () => endQemu(state, runDir))
  return left > 0 ? [`QEMU: ${left} left-over ${left === 1 ? 'process' : 'processes'} ended`] : []
}

/** Takes away what ours leave in the runtime directory, and nothing else. The state may be mounted there: never what is in it. */
async function clearRun(run: string): Promise<void> {
  for (const name of await readdir(run).catch(() => [])) {
    if (/^(m|postgres|agent\.sock|holds-[0-9a-f-]+)$/.test(name)) await rm(join(run, name), { recursive: true, force: true })
  }
  for (const folder of ['state', '.']) await rmdir(join(run, folder)).catch(() => {}) // only if empty
}

async function stopService(service: Service, running: Running | null, graceMs: number): Promise<string[]> {
  if (!running) return []
  const how = await step(`Stopping the ${service}`, () => stopProcess(running, graceMs))
  return [`${service}: ${how === 'asked' ? 'stopped' : `did not stop within ${graceMs / 1000} s and was killed`}`]
}

async function privateUrl(state: string, runDir: string): Promise<string | null> {
  if ((await postmasterOf(join(state, 'postgres'))) === null) return null
  return postgresUrl(privatePostgres({ state, stateInside: state, run: runDir }), 'comeback')
}

async function machinesDown(socket: string, databaseUrl: string | null): Promise<string[]> {
  try {
    const { graceful, hard } = await step('Shutting the guests down', () =>
      stopMachines(socket, databaseUrl, guestGraceSeconds),
    )
    if (graceful + hard === 0) return []
    return [`machines: ${graceful} shut down${hard > 0 ? `, ${hard} powered off after ${guestGraceSeconds} s` : ''}`]
  } catch (error) {
    return [`machines: the agent could not stop them (${error instanceof Error ? error.message : error})`]
  }
}
