/** A pool that is full, on a small file system of its own: guests wait, operations go back whole, and with room all goes on. */
import { execFile } from 'node:child_process'
import { chmod, mkdir, mkdtemp, rm, statfs, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually } from '../support/killing/breakable.ts'
import { Campaign } from '../support/killing/campaign.ts'

const run = promisify(execFile)
const minutes = 60_000
const MiB = 1024 ** 2
/** Only root may mount. */
const canMount = process.getuid?.() === 0
let folder: string
let pool: string
let campaign: Campaign | undefined

beforeAll(async () => {
  if (!canMount) return
  folder = await mkdtemp(join(tmpdir(), 'comeback-small-'))
  await chmod(folder, 0o755)
  pool = join(folder, 'pool')
  const image = join(folder, 'image')
  await writeFile(image, '')
  await truncate(image, 400 * MiB)
  await run('mkfs.ext4', ['-q', '-m', '0', image])
  await mkdir(pool)
  await run('mount', ['-o', 'loop', image, pool])
  await chmod(pool, 0o755)
  // No reserve, so that requests are not refused beforehand.
  campaign = await Campaign.begin({ COMEBACK_POOL: pool, COMEBACK_POOL_RESERVE_MIB: '0' })
}, 10 * minutes)
afterAll(async () => {
  if (!canMount) return
  await campaign?.end()
  await run('umount', [pool])
  await rm(folder, { recursive: true })
}, 5 * minutes)

const makeRoom = (): Promise<void> => rm(join(pool, 'filler'), { force: true })

/** Leaves not one block, and the guest writing until QEMU holds it. Nothing gives room back by itself meanwhile. */
async function fillWhileWriting(campaign: Campaign): Promise<void> {
  const { guest, on } = campaign
  await campaign.rests()
  await guest.mark() // a guest that waits for room can say nothing
  await guest.write()
  const { bavail, bsize } = await statfs(pool)
  const filler = join(pool, 'filler')
  await run('fallocate', ['-l', String(bavail * bsize - MiB), filler])
  await run('dd', ['if=/dev/zero', `of=${filler}`, 'bs=4k', 'oflag=append', 'conv=notrunc']).catch(() => undefined)
  await eventually('a guest that waits for room', async () => {
    const [row] = await on.query<{ why: string }>('select paused_because as why from instances where id = $1', [guest.instance])
    return row?.why === 'space'
  })
}

test.runIf(canMount).each(['rollback', 'snapshot'] as const)(
  'a %s on a full pool goes back whole while its guest waits; with room both go on',
  { timeout: 10 * minutes },
  async (story) => {
    if (!campaign) throw new Error('no campaign')
    await fillWhileWriting(campaign)
    expect(await campaign.attempt(story, makeRoom)).toEqual({ ended: 'undone', why: 'poolFull' })
    await campaign.guest.mark()
    expect(await campaign.attempt(story)).toEqual({ ended: 'done', why: null })
  },
)
