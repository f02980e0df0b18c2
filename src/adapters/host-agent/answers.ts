/** Reads what an agent answers: results, refusals as they were thrown there, and lines of a stream. */
import type { IncomingMessage } from 'node:http'
import { z } from 'zod'
import { isRefusalKind, wireError } from '../../agent/protocol.ts'
import { Refusal, refuse } from '../../domain/refusals.ts'

const success = z.object({ result: z.unknown().optional() })

/** The call's result; throws the agent's refusal. */
export async function resultOf(answer: IncomingMessage, host: string): Promise<unknown> {
  const text = await textOf(answer, host)
  if (answer.statusCode === 200) return success.parse(JSON.parse(text)).result
  throw refusedBy(wireError.parse(JSON.parse(text)), host)
}

/** The refusal as it was thrown there; of a defect, only that there was one. */
export function refusedBy({ error }: z.output<typeof wireError>, host: string): Error {
  if (isRefusalKind(error.kind)) return new Refusal(error.code, error.kind, error.message, error.facts)
  return new Error(`the agent of ${host} failed; its log has the reason under this request's id`)
}

async function textOf(answer: IncomingMessage, host: string): Promise<string> {
  try {
    return (await answer.setEncoding('utf8').toArray()).join('')
  } catch {
    throw refuse.hostUnreachable({ host })
  }
}

/** Lines of JSON until the stream ends; that it broke off is said by a refusal. Whoever leaves early closes it. */
export async function* linesOf(answer: IncomingMessage, host: string): AsyncGenerator<unknown> {
  answer.on('error', () => undefined) // seen below as an answer that is not complete
  let rest = ''
  try {
    for await (const chunk of answer.setEncoding('utf8')) {
      const lines = (rest + String(chunk)).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) yield JSON.parse(line)
    }
  } catch (error) {
    if (answer.complete || !answer.errored) throw error
  } finally {
    answer.destroy()
  }
  if (!answer.complete) throw refuse.hostUnreachable({ host })
}
