/** Shows how an operation goes: one line that changes on a terminal, a line an event elsewhere. */
import { endpoints } from '../../contract/index.ts'
import type { OperationEventView, OperationView } from '../../contract/operations.ts'
import { exitCodes, failed, Stop } from './exit.ts'
import { clean, doing, duration, size, when } from './output.ts'
import type { Session } from './session.ts'

/** Follows an operation to its end, and ends the command accordingly. */
export async function awaitEnd(session: Session, started: Pick<OperationView, 'id' | 'kind'>): Promise<OperationView> {
  const line = statusLine(session)
  const { client, terminal, json } = session
  try {
    const events = client.follow(
      endpoints.watchOperation,
      { params: { operation: started.id } },
      { signal: terminal.interrupted },
    )
    for await (const event of events) {
      if (isStuck(event) && !(await hasEnded(session, started.id))) throw stuck(started.id, event)
      if (!json) line.show(`${doing(started.kind)}: ${saying(event)}`)
    }
  } catch (error) {
    if (!terminal.interrupted.aborted) throw error
    throw new Stop(
      exitCodes.interrupted,
      'interrupted',
      `Interrupted. Operation ${started.id} goes on; see it with: comeback watch ${started.id}`,
    )
  } finally {
    line.end()
  }
  const operation = await client.call(endpoints.showOperation, { params: { operation: started.id } })
  for (const { message } of operation.warnings) session.say(`Warning: ${clean(message)}`)
  return operation
}

/** Refuses an operation that did not end done. */
export function mustBeDone(operation: OperationView): OperationView {
  if (operation.state === 'done') return operation
  const why = operation.problem?.message ?? 'it did not go through'
  const code = operation.problem?.code ?? operation.state
  if (operation.state === 'undone') throw failed(code, `Nothing was changed: ${clean(why)} (operation ${operation.id})`)
  throw failed(code, `Operation ${operation.id} is ${operation.state}: ${clean(why)}`)
}

type OperationId = OperationView['id']

const isStuck = ({ type, data }: OperationEventView) => type === 'step' && data['state'] === 'stuck'

/** The stream begins with the first event: being stuck may be long over. */
async function hasEnded({ client }: Session, id: OperationId): Promise<boolean> {
  const { ended_at } = await client.call(endpoints.showOperation, { params: { operation: id } })
  return ended_at !== null
}

const stuck = (id: OperationId, { data }: OperationEventView) =>
  new Stop(
    exitCodes.stuck,
    'stuck',
    `Operation ${id} is stuck at ${words(data['step'])}: ${clean(messageOf(data['problem']) ?? 'no reason is known.')} ` +
      `It is retried and keeps its locks; an administrator can end it with: comeback operations force-end ${id}`,
  )

/** An event in words. */
export function saying({ type, data }: OperationEventView): string {
  const { step, state, problem } = data
  const because = messageOf(problem)
  const why = because === null ? '' : `: ${clean(because)}`
  switch (type) {
    case 'created':
      return 'accepted'
    case 'claimed':
      return 'begun'
    case 'step':
      return `${words(step)} ${words(state)}${why}`
    case 'warning':
      return `warning${why}`
    case 'ended':
      return `${words(state)}${why}`
    case 'progress':
      return progressIn(data)
  }
}

const words = (value: unknown): string =>
  typeof value === 'string' ? clean(value.replace(/([A-Z])/g, (letter) => ` ${letter.toLowerCase()}`)) : ''

const messageOf = (problem: unknown): string | null =>
  typeof problem === 'object' && problem !== null && 'message' in problem ? String(problem.message) : null

/** How far a move of data is: bytes, share, rate, and how long it will still take. */
export function moved({ doneBytes, totalBytes, bytesPerSecond, remainingSeconds: left }: Move): string {
  const of = totalBytes > 0 ? ` of ${size(totalBytes)}, ${Math.floor((100 * doneBytes) / totalBytes)} %` : ''
  const fast = bytesPerSecond > 0 ? `, ${size(Math.round(bytesPerSecond))}/s` : ''
  const eta = left != null && left > 0 ? `, ${left < 10 ? `${Math.ceil(left)} s` : duration(left)} left` : ''
  return `${size(doneBytes)}${of}${fast}${eta}`
}

type Move = {
  readonly doneBytes: number
  readonly totalBytes: number
  readonly bytesPerSecond: number
  readonly remainingSeconds?: number | null
}

const number = (value: unknown): number => (typeof value === 'number' ? value : 0)

type Facts = Readonly<Record<string, unknown>>

const moveIn = (data: Facts): Move => ({
  doneBytes: number(data['done_bytes']),
  totalBytes: number(data['total_bytes']),
  bytesPerSecond: number(data['bytes_per_second']),
  remainingSeconds: number(data['remaining_seconds']),
})

function progressIn(data: Facts): string {
  const { step, percent, ...rest } = data
  if (typeof rest['done_bytes'] === 'number') return `${words(step)} ${moved(moveIn(rest))}`
  const facts = Object.entries(rest).filter(([, value]) => ['string', 'number'].includes(typeof value))
  const share = typeof percent === 'number' ? `${Math.round(percent)} %` : ''
  return clean(
    [words(step), share, ...facts.map(([name, value]) => `${name} ${value}`)].filter((part) => part !== '').join(' '),
  )
}

/** An event as a line of its own. */
export const eventLine = (event: OperationEventView): string => `${when(event.at)}  ${event.operation}  ${saying(event)}`

const tickMs = 250

/** On a terminal a single line with a running clock; else every change is a line. */
export function statusLine({ terminal: { err }, json }: Pick<Session, 'terminal' | 'json'>) {
  const began = performance.now()
  const clock = () => duration((performance.now() - began) / 1000)
  if (!err.isTTY) return { show: (text: string) => void err.write(`${clock().padStart(8)}  ${text}\n`), end: () => {} }
  let text = ''
  const draw = () => err.write(`\r\u001b[K${text.slice(0, (err.columns ?? 80) - 12)}  ${clock()}`)
  const timer = setInterval(() => text !== '' && draw(), tickMs)
  return {
    show: (next: string) => {
      text = next
      draw()
    },
    end: () => {
      clearInterval(timer)
      if (text !== '' && !json) err.write('\r\u001b[K')
    },
  }
}
