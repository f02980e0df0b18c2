/** Draws the snapshot tree of an instance. */
import type { SnapshotTreeView, TreeNode } from '../../contract/snapshots.ts'
import { whyLess } from './consistency.ts'
import { clean, table, when } from './output.ts'

const youAreHere = '● you are here'

export function drawTree(tree: SnapshotTreeView): string {
  const rows: string[][] = [[clean(tree.instance_name), '', '', '', tree.instance]]
  const children = Map.groupBy(tree.nodes, ({ parent }) => parent)
  const draw = (parent: string | null, indent: string) => {
    const marker = here(tree, parent)
    const below = children.get(parent) ?? []
    below.forEach((node, at) => {
      const last = at === below.length - 1 && marker === null
      rows.push([
        `${indent}${last ? '└─ ' : '├─ '}${label(node, tree)}`,
        when(node.taken_at),
        node.consistency ?? '',
        devices(node),
        node.key,
      ])
      draw(node.key, `${indent}${last ? '   ' : '│  '}`)
    })
    if (marker !== null) rows.push([`${indent}└─ ${marker}`, '', '', '', ''])
  }
  draw(null, '')
  return `${table(['snapshot', 'taken', 'consistency', 'disks', 'id'], rows)}${whyLess(tree.nodes)}`
}

/** What stands at a node, or above all of them. */
function here({ here, mixed }: SnapshotTreeView, node: string | null): string | null {
  const standing = here.filter((disk) => disk.node === node).map(({ device }) => device)
  if (standing.length === 0) return null
  return mixed ? `● ${standing.join(', ')} ${standing.length > 1 ? 'are' : 'is'} here` : youAreHere
}

function label({ kind, name, state, disks, parent, before_rollback_to }: TreeNode, { nodes }: SnapshotTreeView): string {
  const target = nodes.find(({ key }) => key === before_rollback_to)
  const notes = [
    kind === 'volume' ? 'volume snapshot' : null,
    state === 'available' ? null : state,
    disks.some(({ attached }) => !attached) ? 'a disk is detached' : null,
    disks.some((disk) => disk.attached && disk.parent !== parent) ? 'disks differ' : null,
  ].filter((note) => note !== null)
  const before = `safety, before a rollback${target ? ` to ${target.kind === 'safety' ? 'a safety snapshot' : clean(target.name)}` : ''}`
  return `${kind === 'safety' ? before : clean(name)}${notes.length > 0 ? ` (${notes.join(', ')})` : ''}`
}

const devices = ({ disks }: TreeNode) => disks.map(({ device, volume }) => device ?? volume).join(' ')
