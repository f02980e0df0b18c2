import type { FastifyInstance } from 'fastify'
import { endpoints } from '../../../contract/index.ts'
import type { SnapshotTreeView, TreeNode } from '../../../contract/snapshots.ts'
import { type InstanceMoment, type InstanceTree, type Mark, treeOfInstance } from '../../app/views/snapshot-tree.ts'
import type { Placed } from '../../domain/snapshot-tree.ts'
import type { NativeNeeds } from './needs.ts'
import { serve, serveOperation } from './serve.ts'

export function snapshotRoutes(app: FastifyInstance, needs: NativeNeeds): void {
  const { commands } = needs

  serve(app, endpoints.showSnapshotTree, async ({ caller, params }) =>
    viewOf(await treeOfInstance(needs, caller, params.instance)),
  )

  serveOperation(app, needs, endpoints.takeInstanceSnapshot, async ({ caller, params, body }) => {
    const { operation, image } = await commands.createInstanceSnapshot(caller, {
      ...body,
      instance: params.instance,
      disks: body.disks ?? null,
    })
    return { operation, snapshot: image }
  })

  serveOperation(app, needs, endpoints.deleteInstanceSnapshot, async ({ caller, params }) =>
    commands.deleteImage(caller, params.snapshot),
  )
}

function viewOf(tree: InstanceTree): SnapshotTreeView {
  const stands = new Set(tree.disks.map(({ volume }) => tree.here.get(volume) ?? null))
  return {
    instance: tree.instance.id,
    instance_name: tree.instance.name,
    nodes: tree.moments.map((placed) => nodeOf(placed, tree)),
    here: tree.disks.map(({ device, volume }) => ({ device, volume, node: tree.here.get(volume) ?? null })),
    mixed: stands.size > 1,
  }
}

function nodeOf({ moment, parent, parents }: Placed<InstanceMoment>, { disks, here, moments }: InstanceTree): TreeNode {
  const { key, kind, name, takenAt, image, operation, rolledBackTo, consistency, consistencyWhy, marks } = moment
  const target = moments.find((other) => other.moment.marks.some(({ snapshot }) => snapshot === rolledBackTo))
  return {
    key,
    kind,
    name,
    taken_at: takenAt.toISOString(),
    state: worst(marks),
    consistency,
    consistency_because: consistencyWhy,
    parent,
    to: image ? { instance_snapshot: image } : { snapshots: marks.map(({ snapshot }) => snapshot) },
    before_rollback_to: target?.moment.key ?? null,
    made_by: operation,
    disks: marks.map(({ device, volume, snapshot, sizeBytes, state }) => ({
      device,
      volume,
      snapshot,
      size_bytes: sizeBytes,
      state,
      attached: disks.some((disk) => disk.volume === volume),
      parent: parents.get(volume) ?? null,
    })),
    here: disks.filter(({ volume }) => here.get(volume) === key).map(({ device }) => device),
  }
}

/** A moment is as usable as its least usable disk. */
const worst = (marks: readonly Mark[]): Mark['state'] =>
  (['error', 'deleting', 'creating'] as const).find((state) => marks.some((mark) => mark.state === state)) ?? 'available'
