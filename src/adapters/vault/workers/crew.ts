/** Who does the jobs: other threads, or, for little work and for tests, whoever asks. */
import { identify, type Jobs, open, seal } from './jobs.ts'

export interface Crew {
  do<Name extends keyof Jobs>(name: Name, job: Jobs[Name][0]): Promise<Jobs[Name][1]>
  close(): Promise<void>
}

const doers: { [Name in keyof Jobs]: (job: Jobs[Name][0]) => Jobs[Name][1] } = { identify, seal, open }

export const doJob = <Name extends keyof Jobs>(name: Name, job: Jobs[Name][0]): Jobs[Name][1] => doers[name](job)

/** Everything in the thread that asks. */
export const inlineCrew: Crew = {
  do: async (name, job) => doJob(name, job),
  close: async () => undefined,
}
