/** What each job does, in the mover's process: opens the vault, and the disk that the agent serves for it. */
import { realpath, stat } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import type { z } from 'zod'
import { DirectoryStore } from '../../adapters/vault/directory/store.ts'
import { Damaged } from '../../adapters/vault/format/damage.ts'
import { readIdentity } from '../../adapters/vault/identity.ts'
import { makeVault, openVault, type Vault } from '../../adapters/vault/vault.ts'
import { type Crew, inlineCrew } from '../../adapters/vault/workers/crew.ts'
import { threadCrew } from '../../adapters/vault/workers/threads.ts'
import { refuse } from '../../domain/refusals.ts'
import type { BlockTarget } from '../../ports/blocks.ts'
import type { Report, VaultAccess, VaultMover, VaultPlace } from '../../ports/vault-mover.ts'
import type { VaultStore } from '../../ports/vault-store.ts'
import { type MoverCall, moverCalls } from '../protocol.ts'
import { storeWithFailpoints, targetWithFailpoints } from './failpoints.ts'
import type { Job } from './job.ts'
import { NbdSource, NbdTarget } from './nbd-blocks.ts'
import { requireFreePlace } from './place.ts'
import type { CarryOut } from './serve-job.ts'

/** Compressing keeps a core busy each; more of them wait for the disks. */
const mostThreads = 4

type Given = { readonly job: Job; readonly report: Report }

type Implementations = {
  readonly [Name in MoverCall]: (
    args: z.output<(typeof moverCalls)[Name]['args']>,
    given: Given,
  ) => ReturnType<VaultMover[Name]>
}

const implementations: Implementations = {
  makeVault: ([access, identity], { job }) =>
    inStore(access.place, job, access.vault, (store) => makeVault(store, access, identity, access.place.directory)),
  readIdentity: ([place], { job }) => inStore(place, job, place.directory, identityIn),
  writeSlots: ([access, slots], { job }) => inVault(access, job, (vault) => vault.writeSlots(slots)),
  testVault: ([access], { job }) =>
    inVault(access, job, async (vault) => ({
      ...(await vault.test()),
      sharesDiskWith: await poolsOnDiskOf(access.place, job),
    })),
  discardBackup: ([access, of], { job }) => inVault(access, job, (vault) => vault.discardBackup(of)),
  hasBackup: ([access, of], { job }) => inVault(access, job, (vault) => vault.hasBackup(of)),
  deleteBackup: ([access, of], { job }) => inVault(access, job, (vault) => vault.deleteBackup(of)),
  listBackups: ([access], { job }) => inVault(access, job, (vault) => vault.listBackups()),
  sweepVolume: ([access, volume], { job }) => inVault(access, job, (vault) => vault.sweepVolume(volume)),
  verify: ([access, volume], { job, report }) =>
    withThreads((crew) => inVault(access, job, (vault) => vault.verify(volume, report), crew)),
  writeBackup: ([access, { of, previous, facts }], { job, report }) =>
    withThreads((crew) =>
      inVault(
        access,
        job,
        async (vault) => {
          if (job.source === null) throw new Error('the job came without its disk')
          const source = await NbdSource.open(job.source)
          const base = previous && { backup: previous.backup, whyNot: previous.whyNot ?? job.source.whyNot }
          const outcome = await vault.writeBackup({ of, previous: base, facts }, source, report)
          await source.close()
          return outcome
        },
        crew,
      ),
    ),
  restoreBackup: ([access, { of, rootHash }], { job, report }) =>
    withThreads((crew) =>
      inVault(
        access,
        job,
        async (vault) => {
          if (job.target === null) throw new Error('the job came without its disk')
          const { socket, export: name, pool } = job.target
          const target: BlockTarget = targetWithFailpoints(await NbdTarget.open(socket, name, pool))
          const outcome = await vault.restoreBackup({ of, rootHash }, target, report)
          await target.close()
          return outcome
        },
        crew,
      ),
    ),
}

export const carryOut: CarryOut = (job, report) => {
  // The job's own schema holds that there is such a call; its arguments are those of the same row.
  const name = job.call as MoverCall
  const call = implementations[name] as (args: unknown, given: Given) => Promise<unknown>
  return call(moverCalls[name].args.parse(job.args), { job, report })
}

/** `label`: what the vault is called in refusals. */
async function inStore<T>(place: VaultPlace, job: Job, label: string, work: (store: VaultStore) => Promise<T>): Promise<T> {
  await requireFree(place, job)
  const store = await DirectoryStore.open(place.directory, label)
  try {
    return await work(storeWithFailpoints(store))
  } finally {
    await store.close()
  }
}

const inVault = <T>(access: VaultAccess, job: Job, work: (vault: Vault) => Promise<T>, crew: Crew = inlineCrew): Promise<T> =>
  inStore(access.place, job, access.vault, async (store) => work(await openVault(store, access, crew)))

async function withThreads<T>(work: (crew: Crew) => Promise<T>): Promise<T> {
  const crew = threadCrew(Math.min(mostThreads, availableParallelism()))
  try {
    return await work(crew)
  } finally {
    await crew.close()
  }
}

/** Links may lead to where the directory's name does not. */
async function requireFree({ directory }: VaultPlace, { taken }: Job): Promise<void> {
  const real = await realpath(directory).catch(() => null)
  if (real === null) return
  const others = await Promise.all(
    taken.map(async (one) => ({ ...one, directory: await realpath(one.directory).catch(() => one.directory) })),
  )
  requireFreePlace(real, others)
}

async function poolsOnDiskOf({ directory }: VaultPlace, { taken }: Job): Promise<readonly string[]> {
  const { dev } = await stat(directory)
  const pools = await Promise.all(
    taken.map(async ({ directory: other, pool }) => (pool !== null && (await stat(other)).dev === dev ? pool : [])),
  )
  return pools.flat()
}

async function identityIn(store: VaultStore) {
  try {
    const found = await readIdentity(store)
    if (found === null) return null
    const { proof: _, ...identity } = found
    return identity
  } catch (error) {
    if (error instanceof Damaged) throw refuse.hostFailure({ what: 'the identity of the vault (vault.json) is damaged' })
    throw error
  }
}
