/**
 * The vault's own pace, without QEMU: `node bootstrap.mjs bench/vault-core.ts [MiB] [directory]`. A file, half of it random, a
 * quarter zeros and a quarter one repeated MiB, is backed up into a directory, changed in scattered blocks, backed up again, and
 * restored; everything ends in fsync.
 */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { type FileHandle, mkdir, mkdtemp, open, rm, stat } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { DirectoryStore } from '../src/adapters/vault/directory/store.ts'
import { makeVault, openVault } from '../src/adapters/vault/vault.ts'
import { threadCrew } from '../src/adapters/vault/workers/threads.ts'
import { type BackupId, newId, type ProjectId, type VaultId, type VolumeId } from '../src/domain/ids.ts'
import type { BlockSource, BlockTarget, Extent } from '../src/ports/blocks.ts'
import type { BackupFacts, BackupRef } from '../src/ports/vault-mover.ts'

const MiB = 1024 ** 2
const block = 65_536

const [size = '1024', where = tmpdir(), toFill] = process.argv.slice(2)
const bytes = Number(size) * MiB

function fileSource(file: FileHandle, changed: readonly Extent[] | null): BlockSource {
  return {
    sizeBytes: bytes,
    async *extents() {
      yield { offset: 0, length: bytes, kind: 'data' }
    },
    changedExtents: () =>
      changed &&
      (async function* () {
        yield* changed
      })(),
    read: async (offset, length) => {
      const buffer = Buffer.allocUnsafeSlow(length)
      await file.read(buffer, 0, length, offset)
      return buffer
    },
    close: async () => undefined,
  }
}

const fileTarget = (file: FileHandle): BlockTarget => ({
  sizeBytes: bytes,
  write: async (offset, data) => {
    await file.write(data, 0, data.length, offset)
  },
  flush: () => file.sync(),
  close: async () => undefined,
})

/** In a process of its own, so that what it takes of memory is not counted. */
async function fill(path: string): Promise<void> {
  await using file = await open(path, 'w+')
  const repeated = randomBytes(MiB)
  for (let at = 0; at < bytes / MiB; at++) {
    const kind = at % 4
    await file.write(kind < 2 ? randomBytes(MiB) : kind === 2 ? Buffer.alloc(MiB) : repeated, 0, MiB, at * MiB)
  }
  await file.sync()
}

function coldCache(): void {
  try {
    execFileSync('sh', ['-c', 'sync; echo 3 > /proc/sys/vm/drop_caches'])
  } catch {
    console.log('(the page cache is warm: it takes root to drop it)')
  }
}

async function timed<Result>(what: string, moved: number, work: () => Promise<Result>): Promise<Result> {
  coldCache()
  const cpu = process.cpuUsage()
  const begin = performance.now()
  const result = await work()
  const seconds = (performance.now() - begin) / 1000
  const { user, system } = process.cpuUsage(cpu)
  console.log(
    `${what}: ${seconds.toFixed(2)} s, ${(moved / MiB / seconds).toFixed(0)} MiB/s, CPU ${(user / 1e6).toFixed(2)} s and ${(system / 1e6).toFixed(2)} s in the kernel, ` +
      `at most ${Math.round(process.resourceUsage().maxRSS / 1024)} MiB of memory`,
  )
  return result
}

const facts: BackupFacts = {
  name: 'bench',
  description: null,
  createdAt: new Date().toISOString(),
  volumeName: 'v',
  projectName: 'p',
  bootable: false,
  metadata: {},
  imageMetadata: null,
  consistency: 'crash',
  instance: null,
}

if (toFill !== undefined) {
  await fill(toFill)
  process.exit(0)
}

const root = await mkdtemp(join(where, 'comeback-bench-'))
try {
  execFileSync(process.execPath, [import.meta.filename, size, where, join(root, 'disk')])
  const file = await open(join(root, 'disk'), 'r+')
  await mkdir(join(root, 'vault'))
  const store = await DirectoryStore.open(join(root, 'vault'), 'bench')
  const access = { vault: newId<VaultId>(), key: randomBytes(32).toString('base64'), bytesPerSecond: null, parallel: 8 }
  await makeVault(store, access, { format: 1, vault: access.vault, name: 'v', createdAt: facts.createdAt, slots: [] }, 'here')
  console.log(`idle: ${Math.round(process.memoryUsage().rss / MiB)} MiB of memory`)
  const crew = threadCrew(availableParallelism())
  const vault = await openVault(store, access, crew)
  const of = (): BackupRef => ({ volume, project, backup: newId<BackupId>() })
  const volume = newId<VolumeId>()
  const project = newId<ProjectId>()

  const first = of()
  const full = await timed('first backup', bytes, () =>
    vault.writeBackup({ of: first, previous: null, facts }, fileSource(file, null)),
  )
  console.log(`  stored ${(full.storedBytes / MiB).toFixed(1)} MiB`)

  /** Random blocks are written anew, and the backup before is continued. */
  const increment = async (previous: BackupRef, share: number, measured: boolean): Promise<BackupRef> => {
    const changed: Extent[] = []
    for (let number = 0; number < bytes / block; number++)
      if (Math.random() < share) {
        await file.write(randomBytes(block), 0, block, number * block)
        changed.push({ offset: number * block, length: block, kind: 'data' })
      }
    await file.sync()
    const next = of()
    const request = { of: next, previous: { backup: previous.backup, whyNot: null }, facts }
    const write = () => vault.writeBackup(request, fileSource(file, changed))
    const changedBytes = changed.length * block
    const { storedBytes } = await (measured ? timed('incremental', changedBytes, write) : write())
    if (measured) console.log(`  changed ${(changedBytes / MiB).toFixed(1)} MiB, stored ${(storedBytes / MiB).toFixed(1)} MiB`)
    return next
  }
  const restore = async (what: string, backup: BackupRef) => {
    await rm(join(root, 'restored'), { force: true })
    const target = await open(join(root, 'restored'), 'w')
    await target.truncate(bytes)
    await timed(what, bytes, () => vault.restoreBackup({ of: backup, rootHash: null }, fileTarget(target)))
    await target.close()
  }

  await restore('restore', first)
  let last = await increment(first, 0.05, true)
  for (let count = 1; count < 30; count++) last = await increment(last, 0.005, false)
  await restore('restore after 30 increments', last)
  execFileSync('cmp', [join(root, 'disk'), join(root, 'restored')])
  console.log(`the restored disk is the same; ${((await stat(join(root, 'restored'))).blocks * 512) / MiB} MiB allocated`)
  await crew.close()
  await store.close()
  await file.close()
} finally {
  await rm(root, { recursive: true })
}
