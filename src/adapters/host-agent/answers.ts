/** Reads what an agent answers: results, refusals as they were thrown there, and lines of a stream. */
import type { IncomingMessage } from 'node:http'
import { createInterface } from 'node:readline'
import { z } from 'zod'
import { isRefusalKind, wireError } from '../../agent/protocol.ts'
import { Refusal, refuse } from '../../domain/refusals.ts'

const success = z.object({ result: z.unknown().optional() })

/** The call's result; throws the agent's refusal. */
export async function resultOf(answer: IncomingMessage, host: string): Promise<unknown> {
  const text = await textOf(answer, host)
  if (answer.statusCode === 200) return success.parse(JSON.parse(text)).result
  const { error } = wireError.parse(JSON.parse(text))
  if (isRefusalKind(error.kind)) throw new Refusal(error.code, error.kind, error.message, error.facts)
  throw new Error(`the agent of ${host} failed; its log has the reason under this request's id`)
}

async function textOf(answer: IncomingMessage, host: string): Promise<string> {
  try {
    return (await answer.setEncoding('utf8').toArray()).join('')
  } catch {
    throw refuse.hostUnreachable({ host })
  }
}

/** Lines of JSON until the stream ends; that it broke off is said by a refusal. */
export async function* linesOf(answer: IncomingMessage, host: string): AsyncGenerator<unknown> {
  answer.on('error', () => undefined) // the lines end, and the answer is not complete
  for await (const line of createInterface({ input: answer.setEncoding('utf8') })) yield JSON.parse(line)
  if (!answer.complete) throw refuse.hostUnreachable({ host })
}
