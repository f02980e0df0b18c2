/** One job of the agent, about one vault. Started by it, given the job on standard input; ends with it. */
import { carryOut } from './carry-out.ts'
import { serveJob } from './serve-job.ts'

await serveJob(carryOut)
