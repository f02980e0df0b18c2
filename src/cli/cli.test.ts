import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import type { SnapshotTreeView, TreeNode } from '../../contract/snapshots.ts'
import { duration, size, table } from './output.ts'
import { runCli } from './program.ts'
import { saying } from './progress.ts'
import { drawTree } from './tree.ts'

async function run(...args: string[]) {
  const [out, err, input] = [new PassThrough(), new PassThrough(), new PassThrough()]
  const terminal = { out, err, in: input, env: {}, interrupted: new AbortController().signal }
  const code = await runCli(args, terminal)
  return { code, out: String(out.read() ?? ''), err: String(err.read() ?? '') }
}

const commands = [
  'snapshots',
  'snapshot create',
  'snapshot delete',
  'rollback',
  'preflight',
  'undo',
  'operations list',
  'operations show',
  'operations cancel',
  'operations force-end',
  'watch',
  'instances list',
  'instances show',
  'instances backup',
  'volumes list',
  'volumes show',
  'volumes snapshot',
  'volumes backup',
  'volumes restore',
  'volumes restore-new',
  'volumes delete-snapshot',
  'volumes set-plan',
  'plans list',
  'plans create',
  'plans change',
  'plans delete',
  'safety list',
  'safety clean-up',
  'audit',
  'pools',
  'hosts',
  'recover',
  'backups list',
  'backups show',
  'backups restore',
  'backups delete',
  'vault list',
  'vault show',
  'vault create',
  'vault add',
  'vault change',
  'vault set-default',
  'vault test',
  'vault verify',
  'vault kit',
  'vault remove',
  'vault extract',
  'host-groups list',
  'host-groups create',
  'host-groups change',
  'host-groups assign',
  'host-groups delete',
]

test('every command has help with examples, and says the exit codes once', async () => {
  expect((await run('--help')).out).toMatch(/Exit codes:\n {2}0 +done/)
  for (const command of commands) {
    const help = await run(...command.split(' '), '--help')
    expect([command, help.code]).toEqual([command, 0])
    expect(help.out).toMatch(/Examples:\n {2}\$ comeback /)
  }
})

test('a wrong command line is exit code 2 and says what is wrong', async () => {
  const wrong: [string[], RegExp][] = [
    [[], /Usage: comeback/],
    [['nonsense'], /unknown command 'nonsense'/],
    [['rollback', 'web'], /missing required argument 'snapshot'/],
    [['operations', '--state', 'odd'], /Allowed choices are pending/],
    [['operations', 'show', 'x'], /'x' is not the id of an operation/],
    [['safety', '--older-than', '7'], /such as 90s, 15m, 12h/],
    [['instances', '--limit', '-1'], /whole number/],
    [['-o', 'xml', 'instances'], /Allowed choices are table, json/],
    [['recover'], /comeback recover --from-pools/],
    [['recover', '--from-vault', 'main', '--from-pools'], /cannot be used with/],
    [['backups', 'restore', 'x', '--new', '--to', 'y'], /cannot be used with/],
    [['backups', 'restore', 'x', '--new', '--skip-safety-snapshot'], /cannot be used with/],
    [['backups', 'restore', 'x', '--new', '--size', 'large'], /such as 512MiB or 20GiB/],
    [['vault', 'create', 'main'], /missing required argument 'directory'/],
    [['vault', 'create', 'main', '/b', '--rate', 'fast'], /such as 512MiB or 20GiB/],
    [['vault', 'create', 'main', '/b', '--save-key', '/'], /EEXIST.*not there yet/],
    [['vault', 'add', 'main', '/b', '--key-file', '/nowhere'], /\/nowhere cannot be read \(ENOENT\)/],
    [['vault', 'extract', '/nowhere', 'backup'], /into which new file/],
    [['vault', 'extract', '/nowhere', '--key-file', '/nowhere'], /\/nowhere cannot be read/],
    [['volumes', 'backup', 'x', '--consistency', 'odd'], /Allowed choices are application, filesystem, crash/],
  ]
  for (const [args, words] of wrong) {
    const { code, err } = await run(...args)
    expect([args, code]).toEqual([args, 2])
    expect(err).toMatch(words)
  }
  expect(JSON.parse((await run('-o', 'json', 'recover')).err)).toEqual({
    error: { code: 'usage', message: 'Say from what: comeback recover --from-pools, or comeback recover --from-vault <vault>' },
  })
})

const node = (key: string, parent: string | null, more: Partial<TreeNode> = {}): TreeNode => ({
  key,
  kind: 'instance',
  name: key.toUpperCase(),
  taken_at: '2026-01-02T03:04:05Z',
  state: 'available',
  consistency: 'crash',
  consistency_because: null,
  parent,
  to: { snapshots: [key as never] },
  before_rollback_to: null,
  made_by: key as never,
  disks: [disk('vda', parent), disk('vdb', parent)],
  here: [],
  ...more,
})
const disk = (device: string, parent: string | null): TreeNode['disks'][number] => ({
  device,
  volume: device as never,
  snapshot: device as never,
  size_bytes: 1,
  state: 'available',
  attached: true,
  parent,
})

const treeOf = (vda: string | null, vdb: string | null, nodes: TreeNode[]): SnapshotTreeView => ({
  instance: 'id' as never,
  instance_name: 'web',
  nodes,
  here: [
    { device: 'vda', volume: 'vda' as never, node: vda },
    { device: 'vdb', volume: 'vdb' as never, node: vdb },
  ],
  mixed: vda !== vdb,
})
const lines = (tree: SnapshotTreeView) =>
  drawTree(tree)
    .split('\n')
    .slice(1)
    .map((line) => line.split(/ {2,}(?=\d{4}-|id$)/)[0]?.trimEnd())

test('the drawing shows branches, marks, and where each disk is', () => {
  const nodes = [
    node('a', null),
    node('b', 'a', { disks: [disk('vda', 'a'), { ...disk('vdb', 'a'), attached: false }] }),
    node('c', 'a', { kind: 'safety', before_rollback_to: 'a' }),
    node('d', 'b', { state: 'creating', disks: [disk('vda', 'b'), disk('vdb', 'a')] }),
  ]
  expect(lines(treeOf('b', 'b', nodes))).toEqual([
    'web',
    '└─ A',
    '   ├─ B (a disk is detached)',
    '   │  ├─ D (creating, disks differ)',
    '   │  └─ ● you are here',
    '   └─ safety, before a rollback to A',
  ])
  expect(lines(treeOf('b', null, nodes.slice(0, 2)))).toEqual([
    'web',
    '├─ A',
    '│  └─ B (a disk is detached)',
    '│     └─ ● vda is here',
    '└─ ● vdb is here',
  ])
})

test('sizes, durations and events in words', () => {
  expect([0, 1, 1024, 1536, 2 ** 30, 2 ** 40 * 1.5].map(size)).toEqual(['0 B', '1 B', '1 KiB', '1.5 KiB', '1 GiB', '1.5 TiB'])
  expect([0.123, 9.99, 42.4, 150].map(duration)).toEqual(['0.12 s', '9.99 s', '42 s', '2 min 30 s'])
  const event = { seq: 1, operation: 'o' as never, at: '2026-01-02T03:04:05Z' }
  const problem = { code: 'x', message: 'no room' }
  expect(saying({ ...event, type: 'step', data: { step: 'stopInstance', state: 'failed', problem } })).toBe(
    'stop instance failed: no room',
  )
  expect(saying({ ...event, type: 'progress', data: { step: 'merge', percent: 12.6, bytes: 5 } })).toBe('merge 13 % bytes 5')
  const moved = { step: 'write', done_bytes: 1.25 * 2 ** 30, total_bytes: 8 * 2 ** 30 }
  const rate = { bytes_per_second: 210 * 2 ** 20 + 0.4 }
  expect(saying({ ...event, type: 'progress', data: { ...moved, ...rate, remaining_seconds: 33 } })).toBe(
    'write 1.3 GiB of 8 GiB, 15 %, 210 MiB/s, 33 s left',
  )
  expect(saying({ ...event, type: 'progress', data: { ...moved, remaining_seconds: null } })).toBe(
    'write 1.3 GiB of 8 GiB, 15 %',
  )
  expect(saying({ ...event, type: 'progress', data: { step: 'verify', done_bytes: 512, total_bytes: 0 } })).toBe('verify 512 B')
  expect(saying({ ...event, type: 'ended', data: { state: 'undone' } })).toBe('undone')
  expect(table(['a'], [['x\ny\u001b[2J']])).toBe('A\nx\ufffdy\ufffd[2J')
})
