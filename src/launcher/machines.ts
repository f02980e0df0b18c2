/**
 * Stops the machines of this box: through the agent, which asks each guest first; then whatever is left of QEMU. They stay
 * wanted, so that the next start brings them back.
 */
import { randomUUID } from 'node:crypto'
import { request } from 'node:http'
import pg from 'pg'
import { hostCalls, protocolVersion, wireError } from '../agent/protocol.ts'
import type { InstanceId } from '../domain/ids.ts'
import { findQemu, stopProcess } from './processes.ts'

export type Stopped = { readonly graceful: number; readonly hard: number }

export async function stopMachines(socket: string, databaseUrl: string | null, graceSeconds: number): Promise<Stopped> {
  const machines = hostCalls.machines.result.parse(await call(socket, 'machines', [], null, 10_000))
  const running = machines.filter(({ state }) => state !== 'off')
  if (running.length === 0) return { graceful: 0, hard: 0 }
  const epoch = await nextEpoch(databaseUrl)
  const how = await Promise.all(running.map(({ instance }) => stopOne(socket, instance, epoch, graceSeconds)))
  return { graceful: how.filter((each) => each !== 'hard').length, hard: how.filter((each) => each === 'hard').length }
}

async function stopOne(
  socket: string,
  instance: InstanceId,
  epoch: number,
  graceSeconds: number,
): Promise<'off' | 'graceful' | 'hard'> {
  const fence = { resource: `instance:${instance}`, epoch, operation: randomUUID() }
  const answer = await call(
    socket,
    'stopMachine',
    [instance, { mode: 'graceful', graceSeconds, staysWanted: true }],
    fence,
    (graceSeconds + 20) * 1000,
  )
  return hostCalls.stopMachine.result.parse(answer).how
}

/** Newer than that of any operation, so that the agent obeys. */
async function nextEpoch(databaseUrl: string | null): Promise<number> {
  if (databaseUrl === null) throw new Error('no database to draw an epoch from')
  const client = new pg.Client({ connectionString: databaseUrl, connectionTimeoutMillis: 5_000 })
  client.on('error', () => {})
  await client.connect()
  try {
    const { rows } = await client.query<{ epoch: string }>(`select nextval('epochs') as epoch`)
    return Number(rows[0]?.epoch)
  } finally {
    await client.end()
  }
}

function call(
  socketPath: string,
  name: keyof typeof hostCalls,
  args: readonly unknown[],
  fence: object | null,
  timeoutMs: number,
): Promise<unknown> {
  const body = JSON.stringify({ args, fence })
  const options = {
    socketPath,
    method: 'POST',
    path: `/${protocolVersion}/host/${name}`,
    signal: AbortSignal.timeout(timeoutMs),
  }
  return new Promise((resolve, reject) => {
    const sent = request(
      { ...options, headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) } },
      (answer) => {
        let text = ''
        answer.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk
        })
        answer.on('error', reject).on('end', () => {
          const parsed: unknown = text === '' ? {} : JSON.parse(text)
          if (answer.statusCode === 200 && typeof parsed === 'object' && parsed !== null && 'result' in parsed)
            return resolve(parsed.result)
          const refusal = wireError.safeParse(parsed)
          reject(new Error(refusal.success ? refusal.data.error.message : `the agent answered ${answer.statusCode}`))
        })
      },
    )
    sent.on('error', reject)
    sent.end(body)
  })
}

/** QEMU's programs that nobody could ask: SIGTERM lets them write what they hold, SIGKILL follows. */
export async function endQemu(state: string, runDir: string): Promise<number> {
  const left = await findQemu(state, runDir)
  await Promise.all(left.map((each) => stopProcess(each, 5_000)))
  return left.length
}
