/** The mover's side of a job: takes it, says every second how far it is, and how it ended. When nobody listens any more, it is over at once. */
import { Refusal } from '../../domain/refusals.ts'
import type { MoveProgress } from '../../ports/vault-mover.ts'
import { type Job, job, type Said } from './job.ts'

export type CarryOut = (job: Job, report: (progress: MoveProgress) => void) => Promise<unknown>

const everyMs = 1_000

export async function serveJob(carryOut: CarryOut): Promise<never> {
  const taken = await takeJob()
  // Whatever is under way, also in a file system that hangs: nothing must be done for an agent that is gone.
  process.stdin.once('close', () => process.kill(process.pid, 'SIGKILL'))
  let progress: MoveProgress = { doneBytes: 0, totalBytes: 0, bytesPerSecond: 0 }
  const telling = setInterval(() => say({ progress }), everyMs)
  try {
    const done = await carryOut(taken, (news) => {
      progress = news
    })
    say({ progress })
    say({ done })
  } catch (error) {
    say(failure(error))
  }
  clearInterval(telling)
  process.exit(0)
}

/** Pipes are written at once, so nothing is lost by ending right after. */
function say(what: Said): void {
  process.stdout.write(`${JSON.stringify(what)}\n`)
}

function failure(error: unknown): Said {
  if (error instanceof Refusal) {
    const { code, kind, message, facts } = error
    return { refused: { code, kind, message, facts } }
  }
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`)
  return { failed: true }
}

async function takeJob(): Promise<Job> {
  let text = ''
  process.stdin.setEncoding('utf8')
  const line = await new Promise<string>((resolve, reject) => {
    const hear = (chunk: string): void => {
      text += chunk
      if (!text.endsWith('\n')) return
      process.stdin.off('data', hear)
      process.stdin.resume()
      resolve(text)
    }
    process.stdin.on('data', hear)
    process.stdin.once('end', () => reject(new Error('there was no job')))
  })
  try {
    return job.parse(JSON.parse(line))
  } catch {
    // What was wrong with it may quote it, and it holds a key.
    throw new Error('the job cannot be read')
  }
}
