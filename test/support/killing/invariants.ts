/** What holds whenever nothing is under way, whatever was killed before. Each breach is a sentence. */
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { HttpAgentClient } from '../../../src/adapters/host-agent/client.ts'
import type { InstanceId, LayerId } from '../../../src/domain/ids.ts'
import type { Breakable } from './breakable.ts'

export type Head = { readonly volume: string; readonly device: string; readonly head: LayerId; readonly generation: number }

export const headsOf = (on: Breakable, instance: InstanceId): Promise<Head[]> =>
  on.query<Head>(
    `select v.id as volume, a.device, v.head_layer_id as head, v.generation::int as generation
     from attachments a join volumes v on v.id = a.volume_id where a.instance_id = $1 order by a.device`,
    [instance],
  )

export async function breaches(on: Breakable, instance: InstanceId): Promise<string[]> {
  const found = await Promise.all([
    locks(on),
    layers(on),
    records(on, instance),
    machine(on, instance),
    processes(on, instance),
  ])
  return found.flat()
}

async function locks(on: Breakable): Promise<string[]> {
  const open = await on.query(`select id, kind, state from operations where ended_at is null`)
  const kept = await on.query(
    `select l.resource, o.kind, o.state from locks l join operations o on o.id = l.operation_id where o.ended_at is not null`,
  )
  return [
    ...open.map((row) => `operation ${JSON.stringify(row)} has not ended`),
    ...kept.map((row) => `lock ${JSON.stringify(row)} is kept by an ended operation`),
  ]
}

async function layers(on: Breakable): Promise<string[]> {
  const rows = await on.query<{ id: string; state: string }>('select id, state from layers')
  const files = await readdir(join(on.pool, 'layers'))
  const named = new Set(rows.map(({ id }) => id))
  const present = new Set(files.map((name) => name.split('.')[0] ?? ''))
  return [
    ...rows.filter(({ state }) => state !== 'present').map(({ id, state }) => `layer ${id} is still ${state}`),
    ...rows.filter(({ id }) => !present.has(id)).map(({ id }) => `layer ${id} has no file`),
    ...files.filter((name) => !named.has(name.split('.')[0] ?? '')).map((name) => `file ${name} belongs to no layer`),
    ...files.filter((name) => !/^[0-9a-f-]{36}\.(qcow2|json)$/.test(name)).map((name) => `file ${name} was left behind`),
  ]
}

const record = z.object({
  role: z.string(),
  volume: z.object({ generation: z.number() }).nullable(),
  points: z.array(z.object({ point: z.string(), snapshots: z.array(z.object({ id: z.string() })) })),
})

/** The storage's own records say what the rows say. */
async function records(on: Breakable, instance: InstanceId): Promise<string[]> {
  const said: string[] = []
  const heads = await headsOf(on, instance)
  const points = await on.query<{ id: string; layer: string; names: string[] }>(
    `select p.id, p.layer_id as layer, array_remove(array_agg(s.id::text order by s.id), null) as names
     from points p left join volume_snapshots s on s.point_id = p.id and s.deleted_at is null group by 1, 2`,
  )
  const images = new Set(
    (await on.query<{ id: string }>('select layer_id as id from images where layer_id is not null')).map(({ id }) => id),
  )
  for (const row of await on.query<{ id: string }>(`select id from layers where state = 'present'`)) {
    const file = join(on.pool, 'layers', row.id)
    const text = await readFile(`${file}.json`, 'utf8').catch(() => null)
    if (text === null) {
      said.push(`layer ${row.id} has no record`)
      continue
    }
    const { role, volume, points: marked } = record.parse(JSON.parse(text))
    const head = heads.find((one) => one.head === row.id)
    const wanted = head ? 'head' : images.has(row.id) ? 'image' : 'frozen'
    if (role !== wanted) said.push(`the record of layer ${row.id} says ${role}, not ${wanted}`)
    if (head && volume?.generation !== head.generation)
      said.push(`the record of head ${row.id} has generation ${volume?.generation}, the row ${head.generation}`)
    const isWritable = ((await stat(`${file}.qcow2`)).mode & 0o200) !== 0
    if (isWritable !== (wanted === 'head')) said.push(`layer ${row.id}, ${wanted}, is ${isWritable ? '' : 'not '}writable`)
    const here = points.filter(({ layer }) => layer === row.id)
    if (marked.map(({ point }) => point).join() !== here.map(({ id }) => id).join())
      said.push(
        `the record of layer ${row.id} has points ${marked.map(({ point }) => point)}, the rows ${here.map(({ id }) => id)}`,
      )
    if (wanted === 'image') continue
    for (const { id, names } of here) {
      const recorded =
        marked
          .find(({ point }) => point === id)
          ?.snapshots.map((one) => one.id)
          .sort() ?? []
      if (recorded.join() !== [...names].sort().join())
        said.push(`the record of point ${id} names snapshots ${recorded}, the rows ${names}`)
    }
  }
  return said
}

async function machine(on: Breakable, instance: InstanceId): Promise<string[]> {
  const [row] = await on.query<{ state: string; paused_because: string | null }>(
    'select state, paused_because from instances where id = $1',
    [instance],
  )
  const agent = new HttpAgentClient('test', { over: 'unix', path: on.agentSocket })
  try {
    const view = await agent.host().machine(instance)
    const heads = await headsOf(on, instance)
    const said = heads
      .filter(({ device, head }) => view.heads[device] !== head)
      .map(({ device, head }) => `machine writes ${view.heads[device]} on ${device}, its row says ${head}`)
    if (row?.state !== 'running' || row.paused_because !== null) said.push(`the instance is ${JSON.stringify(row)}`)
    if (view.state !== 'running') said.push(`the machine is ${view.state}, because ${view.pausedBecause}`)
    return said
  } catch (error) {
    return [`the agent does not say how the machine is: ${error instanceof Error ? error.message : error}`]
  } finally {
    agent.close()
  }
}

/** One QEMU for the instance; of lock daemons the one that is kept ready, and no hold. */
async function processes(on: Breakable, instance: InstanceId): Promise<string[]> {
  const ours: string[][] = []
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    const [command, environ] = await Promise.all(
      ['cmdline', 'environ'].map((name) => readFile(`/proc/${pid}/${name}`, 'utf8').catch(() => '')),
    )
    const words = (command ?? '').split('\0')
    if (words.includes(instance)) ours.push(words)
    else if (words[0] === 'qemu-storage-daemon' && environ?.split('\0').includes(`COMEBACK_RUN=${on.run}`)) ours.push(words)
  }
  const machines = ours.filter((words) => words.includes('-uuid')).length
  const daemons = ours.filter(([name]) => name === 'qemu-storage-daemon').length
  const folders = (await readdir(on.run)).filter((name) => name.startsWith('holds-'))
  const notes = (await Promise.all(folders.map((name) => readdir(join(on.run, name))))).flat()
  return [
    ...(machines === 1 ? [] : [`${machines} QEMU processes run the machine`]),
    ...(daemons === 1 ? [] : [`${daemons} lock daemons run`]),
    ...notes.map((name) => `hold ${name} was left`),
  ]
}
