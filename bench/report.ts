/** Writes docs/benchmarks.md. */
import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { cpus, release, totalmem } from 'node:os'
import { promisify } from 'node:util'
import type { Footprint } from './footprint.ts'
import type { FeltFigures, RollbackFigures } from './rollback.ts'
import type { SnapshotFigures } from './snapshot.ts'
import { type Spread, show } from './statistics.ts'
import type { StorageFigures } from './storage.ts'
import type { Side, VaultFigures } from './vault.ts'

/** What one run of the benches has measured; null: it did not measure that. */
export type Figures = {
  readonly storage: readonly StorageFigures[] | null
  readonly rollback: readonly RollbackFigures[] | null
  readonly felt: FeltFigures | null
  readonly snapshot: SnapshotFigures | null
  readonly footprint: Footprint | null
  readonly vault: VaultFigures | null
}
type Kept = {
  readonly [Part in keyof Figures]?: {
    readonly on: string
    readonly machine: string
    readonly figures: NonNullable<Figures[Part]>
  }
}

const page = new URL('../docs/benchmarks.md', import.meta.url)
const kept = new URL('../docs/benchmarks.json', import.meta.url)

/** Writes the page, with the latest figures of each part. */
export async function writeReport(figures: Figures): Promise<void> {
  const { stdout } = await promisify(execFile)('qemu-system-x86_64', ['--version'])
  const machine = `${cpus().length} × ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, ${stdout.split('\n')[0]}, TCG where KVM does not work`
  const on = new Date().toISOString().slice(0, 10)
  const measured = Object.entries(figures).filter(([, part]) => part !== null)
  const all: Kept = {
    ...(JSON.parse(await readFile(kept, 'utf8').catch(() => '{}')) as Kept),
    ...Object.fromEntries(measured.map(([name, part]) => [name, { on, machine, figures: part }])),
  }
  await writeFile(kept, `${JSON.stringify(all, null, 2)}\n`)
  const text = [
    '# Benchmarks',
    '',
    "Made by `npm run bench`, from [its figures](benchmarks.json). Seconds unless said otherwise; median (least–most), ours and the others' in turns.",
    '',
    ...section(all.storage, storageText),
    ...section(all.rollback, rollbackText),
    ...section(all.felt, feltText),
    ...section(all.snapshot, snapshotText),
    ...section(all.footprint, footprintText),
    ...section(all.vault, vaultText),
  ]
  await writeFile(page, `${text.join('\n')}\n`)
}

/** How often it was measured: at the least, where figures differ. */
const runsOf = (figures: unknown): number =>
  Math.min(...[...JSON.stringify(figures).matchAll(/"n":(\d+)/g)].map(([, n]) => Number(n)))

const section = <Part>(
  part: { readonly on: string; readonly machine: string; readonly figures: Part } | undefined,
  textOf: (figures: Part) => string[],
): string[] => (part ? [...textOf(part.figures), `*${part.on}, n = ${runsOf(part.figures)}, ${part.machine}.*`, ''] : [])

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string[] => [
  `| ${head.join(' | ')} |`,
  `|${head.map(() => '---').join('|')}|`,
  ...rows.map((row) => `| ${row.join(' | ')} |`),
  '',
]

function storageText(figures: readonly StorageFigures[]): string[] {
  const medians = figures.map(({ ours }) => ours.median)
  const verdict = `Largest/smallest median of ours: ${(Math.max(...medians) / Math.min(...medians)).toFixed(2)} (aim: ≤ 2); largest: ${(Math.max(...medians) * 1000).toFixed(1)} ms (aim: ≤ 50).`
  return [
    "## A rollback's storage part",
    '',
    'New layer, hold, mark, describe, release, all durable; beside `qemu-img snapshot -a` and a sync of its file on the same data.',
    '',
    ...table(
      ['volume', 'written', 'ours', '`snapshot -a`'],
      figures.map(({ sizeGib, fill, ours, snapshotA }) => [`${sizeGib} GiB`, fill, show(ours), show(snapshotA)]),
    ),
    verdict,
    '',
  ]
}

function rollbackText(figures: readonly RollbackFigures[]): string[] {
  const limit = ({ median }: Spread): string => (2 * median + 0.1).toFixed(3)
  return [
    '## Running → rolled back → running',
    '',
    'Through the API, hard stop, guest synced, safety snapshot taken. *Off*: from the order to stop until the new QEMU answers. Bare: a script that creates overlays with `qemu-img`, quits QEMU and spawns it again.',
    '',
    ...table(
      ['disks', 'chain', 'off', 'bare off', 'aim: 2 × bare + 0.1', 'whole operation', 'whole request', 'bare whole'],
      figures.map((one) => [
        String(one.disks),
        String(one.depth),
        show(one.off),
        show(one.bareOff),
        limit(one.bareOff),
        show(one.whole),
        show(one.request),
        show(one.bareWhole),
      ]),
    ),
    ...figures.map(verdictOf),
    '',
    'Medians of the steps:',
    '',
    ...table(
      ['disks', 'chain', ...Object.keys(figures[0]?.steps ?? {})],
      figures.map(({ disks, depth, steps }) => [
        String(disks),
        String(depth),
        ...Object.values(steps).map((seconds) => seconds.toFixed(3)),
      ]),
    ),
  ]
}

/** The aims for a whole operation count only where the bare script allows them. */
function verdictOf({ disks, depth, off, bareOff, whole, bareWhole }: RollbackFigures): string {
  const aim = disks === 1 ? 0.3 : 0.6
  const wholeAim =
    bareWhole.median <= aim
      ? `aim ≤ ${aim} ${judged(whole.median <= aim)}`
      : `aim ≤ ${aim} is out of the bare script's reach too`
  const offAim = judged(off.median <= 2 * bareOff.median + 0.1)
  return `- ${disks} ${disks === 1 ? 'disk' : 'disks'}, ${depth} deep: off ${offAim}; whole ${whole.median.toFixed(3)} s, ${wholeAim}.`
}

const judged = (isKept: boolean): string => (isKept ? 'kept' : '**missed**')

const feltText = (felt: FeltFigures): string[] => [
  '## What users feel',
  '',
  'Two disks, from the request until the guest answers again:',
  '',
  ...table(
    ['hard stop', 'graceful stop', 'off, graceful'],
    [[show(felt.hardToAnswer), show(felt.gracefulToAnswer), show(felt.gracefulOff)]],
  ),
]

function snapshotText(figures: SnapshotFigures): string[] {
  const ms = ({ min, median, max }: Spread): string => `${median.toFixed(1)} (${min.toFixed(1)}–${max.toFixed(1)})`
  return [
    '## Snapshot of a running guest with ten disks',
    '',
    'Milliseconds that the guest cannot write; beside one bare QMP transaction over ten disks of the same guest.',
    '',
    ...table(
      ['', 'ours', 'bare'],
      [
        ['idle', ms(figures.idle), ms(figures.bareIdle)],
        ['writing', ms(figures.loaded), ms(figures.bareLoaded)],
        ['idle, file systems frozen', ms(figures.frozenIdle), '–'],
        ['writing, file systems frozen', ms(figures.frozenLoaded), '–'],
      ],
    ),
    `Aims: idle ≤ 50 ms ${judged(figures.idle.median <= 50)}; writing ≤ 1.5 × bare (${(1.5 * figures.bareLoaded.median).toFixed(1)} ms) ${judged(figures.loaded.median <= 1.5 * figures.bareLoaded.median)}.`,
    '',
  ]
}

const footprintText = (figures: Footprint): string[] => [
  '## Footprint',
  '',
  `Serving after \`npm start\` on an initialised state: ${show(figures.serving)} s. Idle memory (PSS): controller ${figures.controller} MiB, agent ${figures.agent} MiB, PostgreSQL ${figures.postgres} MiB.`,
  '',
  `Aims: serving ≤ 3 s ${judged(figures.serving.median <= 3)}; controller ≤ 150 MiB ${judged(figures.controller <= 150)}, agent ≤ 100 MiB ${judged(figures.agent <= 100)}, PostgreSQL ≤ 60 MiB ${judged(figures.postgres <= 60)}.`,
  '',
]

const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(0)

function vaultText(figures: VaultFigures): string[] {
  const { first, increment, restore, snapshot, beside, moverMib } = figures
  const row = (what: string, { seconds, storedBytes }: Side): string[] => [what, show(seconds), mib(storedBytes.median)]
  const quicker = increment.restic.seconds.median / increment.ours.seconds.median
  const larger = increment.ours64.seconds.median / increment.ours.seconds.median
  const stored = first.ours.storedBytes.median / first.restic.storedBytes.median
  const pace = beside.alone.median / beside.swept.median
  return [
    '## Backups',
    '',
    `A volume of 8 GiB with 1 GiB written (half random, a quarter zeros, a quarter one repeated MiB); then rounds of 51 MiB of scattered random 64 KiB writes. Ours through the API, by the server's clock; \`restic\` on a qcow2 file of the same content; \`qemu-img convert -c\` with zstd. All end durable; the page cache is emptied before each; n = ${first.ours.seconds.n}.`,
    '',
    ...table(
      ['', 'seconds', 'stored MiB'],
      [
        row('first backup, ours', first.ours),
        row('first backup, restic', first.restic),
        row('first backup, convert', first.convert),
        row('51 MiB changed, ours', increment.ours),
        row('51 MiB changed, restic', increment.restic),
        row('51 MiB changed on 64 GiB, ours', increment.ours64),
        ['restore, ours', show(restore.ours), ''],
        ['restore after 30 increments (about 2.4 GiB by then), ours', show(restore.oursAfter30), ''],
        ['restore, restic', show(restore.restic), ''],
        ['restore, convert', show(restore.convert), ''],
      ],
    ),
    `First backup at least at restic's rate: ${judged(first.ours.seconds.median <= first.restic.seconds.median)}; stored ${(100 * stored).toFixed(0)} % of restic's (aim: within 5 %). Increment ${quicker.toFixed(1)} × as quick as restic's (aim: 5), ${mib(increment.ours.storedBytes.median)} MiB stored (aim: ≤ 60), on 64 GiB ${larger.toFixed(2)} × the time (aim: ≤ 1.3). Restore at least at restic's rate: ${judged(restore.ours.median <= restore.restic.median)}; after 30 increments it was not compared on equal content. Snapshot of an idle volume, from request to end: ${show(snapshot)} s (aim: ≤ 0.1). A first backup beside a sweep keeps ${(100 * pace).toFixed(0)} % of its rate (aim: ≥ 80). The process that moves the data had at most ${moverMib} MiB resident.`,
    '',
  ]
}
