/**
 * `npm run bench`: the figures of docs/benchmarks.md, measured on this machine now. `-- --json` ends with one JSON line; `-- storage`,
 * `rollback`, `snapshot`, `footprint`, `vault` measure only that part and leave the page's other figures as they are; `--runs N` (15)
 * and `--quick` (3 runs, small sizes, nothing written) as they say.
 */
import { parseArgs } from 'node:util'
import { Installation } from '../test/support/installation.ts'
import { benchFootprint } from './footprint.ts'
import { writeReport } from './report.ts'
import { benchFelt, benchRollback } from './rollback.ts'
import { benchSnapshot } from './snapshot.ts'
import { benchStorage } from './storage.ts'
import { benchVault } from './vault.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'boolean' }, quick: { type: 'boolean' }, runs: { type: 'string' } },
})
const parts = ['storage', 'rollback', 'snapshot', 'footprint', 'vault'] as const
const wanted = (part: (typeof parts)[number]): boolean => positionals.length === 0 || positionals.includes(part)
const runs = values.quick ? 3 : Number(values.runs ?? 15)
const say = (line: string): void => console.error(line)

const storage = wanted('storage') ? await benchStorage(values.quick ? [1, 8] : [1, 8, 64, 512], runs, say) : null
const box = parts.slice(1).some(wanted) ? await Installation.start() : null
try {
  const cloud = box ? await box.logIn() : null
  const rollback = []
  if (box && cloud && wanted('rollback')) {
    for (const [disks, depth] of [
      [1, 1],
      [1, 16],
      [10, 1],
      [10, 16],
    ] as const) {
      rollback.push(await benchRollback(box, cloud, disks, depth, runs))
      say(`rollback: ${disks} disks, ${depth} deep: done`)
    }
  }
  const felt = box && cloud && wanted('rollback') ? await benchFelt(box, cloud, runs) : null
  const snapshot = box && cloud && wanted('snapshot') ? await benchSnapshot(box, cloud, runs) : null
  const footprint = box && wanted('footprint') ? await benchFootprint(box, runs) : null
  const vault = box && cloud && wanted('vault') ? await benchVault(box, cloud, Math.min(runs, 5), say) : null
  const figures = { storage, rollback: rollback.length > 0 ? rollback : null, felt, snapshot, footprint, vault }
  if (!values.quick) await writeReport(figures)
  if (values.json) console.log(JSON.stringify(figures))
  else console.log(JSON.stringify(figures, null, 2))
} finally {
  await box?.end()
}
