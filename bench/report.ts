/** Writes docs/benchmarks.md. */
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { cpus, release, totalmem } from 'node:os'
import { promisify } from 'node:util'
import type { Footprint } from './footprint.ts'
import type { FeltFigures, RollbackFigures } from './rollback.ts'
import type { SnapshotFigures } from './snapshot.ts'
import { type Spread, show } from './statistics.ts'
import type { StorageFigures } from './storage.ts'

export type Figures = {
  readonly storage: readonly StorageFigures[] | null
  readonly rollback: readonly RollbackFigures[]
  readonly felt: FeltFigures | null
  readonly snapshot: SnapshotFigures | null
  readonly footprint: Footprint | null
}

export async function writeReport(figures: Figures, runs: number): Promise<void> {
  const { stdout } = await promisify(execFile)('qemu-system-x86_64', ['--version'])
  const machine = `${cpus().length} × ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, ${stdout.split('\n')[0]}, TCG where KVM does not work`
  const text = [
    '# Benchmarks',
    '',
    `Made by \`npm run bench\` on ${new Date().toISOString().slice(0, 10)}: ${machine}. Seconds unless said otherwise; median (least–most) of ${runs} runs, ours and the others' in turns.`,
    '',
    ...storageText(figures.storage ?? []),
    ...rollbackText(figures.rollback),
    ...feltText(figures.felt),
    ...snapshotText(figures.snapshot),
    ...footprintText(figures.footprint),
  ]
  await writeFile(new URL('../docs/benchmarks.md', import.meta.url), `${text.join('\n')}\n`)
}

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string[] => [
  `| ${head.join(' | ')} |`,
  `|${head.map(() => '---').join('|')}|`,
  ...rows.map((row) => `| ${row.join(' | ')} |`),
  '',
]

function storageText(figures: readonly StorageFigures[]): string[] {
  if (figures.length === 0) return []
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
  if (figures.length === 0) return []
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
    bareWhole.median <= aim ? `aim ≤ ${aim} ${kept(whole.median <= aim)}` : `aim ≤ ${aim} is out of the bare script's reach too`
  const offAim = kept(off.median <= 2 * bareOff.median + 0.1)
  return `- ${disks} ${disks === 1 ? 'disk' : 'disks'}, ${depth} deep: off ${offAim}; whole ${whole.median.toFixed(3)} s, ${wholeAim}.`
}

const kept = (isKept: boolean): string => (isKept ? 'kept' : '**missed**')

const feltText = (felt: FeltFigures | null): string[] =>
  felt === null
    ? []
    : [
        'What users feel, two disks, from the request until the guest answers again:',
        '',
        ...table(
          ['hard stop', 'graceful stop', 'off, graceful'],
          [[show(felt.hardToAnswer), show(felt.gracefulToAnswer), show(felt.gracefulOff)]],
        ),
      ]

function snapshotText(figures: SnapshotFigures | null): string[] {
  if (figures === null) return []
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
    `Aims: idle ≤ 50 ms ${kept(figures.idle.median <= 50)}; writing ≤ 1.5 × bare (${(1.5 * figures.bareLoaded.median).toFixed(1)} ms) ${kept(figures.loaded.median <= 1.5 * figures.bareLoaded.median)}.`,
    '',
  ]
}

const footprintText = (figures: Footprint | null): string[] =>
  figures === null
    ? []
    : [
        '## Footprint',
        '',
        `Serving after \`npm start\` on an initialised state: ${show(figures.serving)} s. Idle memory (PSS): controller ${figures.controller} MiB, agent ${figures.agent} MiB, PostgreSQL ${figures.postgres} MiB.`,
        '',
        `Aims: serving ≤ 3 s ${kept(figures.serving.median <= 3)}; controller ≤ 150 MiB ${kept(figures.controller <= 150)}, agent ≤ 100 MiB ${kept(figures.agent <= 100)}, PostgreSQL ≤ 60 MiB ${kept(figures.postgres <= 60)}.`,
        '',
      ]
