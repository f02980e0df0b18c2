/**
 * The story: a guest writes, is snapshotted while it runs, writes on, and is brought back in time, forth and back, and undone.
 * Nothing counts but what the guest reads on its disks afterwards.
 */
import type { Shell } from '../guest/shell.ts'
import type { Rollback, Stage } from './cloud.ts'
import { type Chapter, doubts, read, write } from './proof.ts'

/** Times a phase and tells of it: `what` while it happens, and what came of it. */
export type Tell = <T>(phase: string, what: string, work: () => Promise<T>, outcome?: (result: T) => string) => Promise<T>
export type Verdict = { readonly ok: boolean; readonly doubts: readonly string[] }

export async function tellStory(stage: Stage, guest: Shell, tell: Tell): Promise<Verdict> {
  const found: string[] = []
  const past: Chapter[] = []
  const writes = async (phase: string, name: string, what: string): Promise<Chapter> => {
    const chapter = await tell(phase, what, () => write(guest, name), tokens)
    past.push(chapter)
    return chapter
  }
  const mustRead = async (phase: string, wanted: Chapter): Promise<void> => {
    const now = await tell(phase, `the guest boots and reads ${wanted.name}`, () => read(guest, wanted.name), tokens)
    found.push(...doubts(wanted, now, past).map((doubt) => `${wanted.name} is not back (${phase}): ${doubt}`))
    past.push(now)
  }
  const goBack = (phase: string, what: string, to: string | readonly string[]): Promise<Rollback> =>
    tell(
      phase,
      what,
      () => stage.rollBack(to),
      ({ seconds, safety }) => `${seconds.toFixed(2)} s by the server's clock, ${safety.length} safety snapshots`,
    )

  await tell('boot', 'the guest boots', () => guest.run('true'))
  const a = await writes('write_a', 'A', 'the guest writes A on both disks')
  const snapshotA = await tell('snapshot_a', 'instance snapshot A, while it runs', () => stage.snapshot('story A'))
  const b = await writes('write_b', 'B', 'the guest writes B over it')
  const snapshotB = await tell('snapshot_b', 'instance snapshot B, while it runs', () => stage.snapshot('story B'))
  await goBack('rollback_a', 'rollback to A', snapshotA)
  await mustRead('read_a', a)
  const isListed = await tell(
    'list_b',
    'the newer snapshot B is still listed',
    () => stage.isListed(snapshotB),
    (yes) => (yes ? 'yes' : 'no'),
  )
  if (!isListed) found.push('snapshot B is no longer listed after the rollback to A')
  const c = await writes('write_c', 'C', 'the guest writes C, which nobody snapshots')
  const { safety } = await goBack('rollback_b', 'rollback to B', snapshotB)
  await mustRead('read_b', b)
  await goBack('undo', 'undo, through the safety snapshots', safety)
  await mustRead('read_c', c)
  return { ok: found.length === 0, doubts: found }
}

const tokens = ({ disks: { vda, vdb } }: Chapter): string => `vda ${short(vda.token)}  vdb ${short(vdb.token)}`
const short = (token: string): string => `${token.slice(0, 10)}…`
