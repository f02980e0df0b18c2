import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { asId, type LayerId, type OperationId, type PointId, type PoolId, type VolumeId } from '../../domain/ids.ts'
import type { LayerRecord, PointRef, Survey } from '../../ports/storage-driver.ts'
import { planRecovery } from './recovery-plan.ts'

const pool = asId<PoolId>('pool')

/** A pool as rollbacks of one instance leave it, record by record, in the order in which the saga writes them. */
class Pool {
  readonly records = new Map<LayerId, LayerRecord>()
  readonly heads: LayerId[] = []
  readonly points: PointRef[][] = []
  #generation = 0
  #operations = 0

  constructor(disks: number) {
    for (let disk = 0; disk < disks; disk += 1) {
      this.heads.push(this.#layer(disk, 'head', null, 'made'))
      this.points.push([])
    }
  }

  /** All disks to earlier points of theirs (or to nothing), step by step; each step is one record. */
  rollback(
    choices: readonly number[],
    isSafe: boolean,
  ): { prepare: Step[]; mark: Step[]; flip: () => void; describe: Step[][]; next: LayerId[] } {
    this.#operations += 1
    const by = `op${this.#operations}`
    const froms = this.heads.map(
      (_, disk) => this.points[disk]?.[(choices[disk] ?? 0) % (this.points[disk].length || 1)] ?? null,
    )
    const next = this.heads.map((_, disk) => asId<LayerId>(`${by}-${disk}`))
    const old = [...this.heads]
    const marks = old.map((layer, disk): PointRef => ({ layer, point: asId<PointId>(`${by}-p${disk}`) }))
    return {
      next,
      prepare: next.map((_, disk) => () => void this.#layer(disk, 'prepared', froms[disk] ?? null, by)),
      mark: isSafe ? marks.map((mark, disk) => () => this.#mark(disk, mark)) : [],
      flip: () => {
        this.#generation += 1
        next.forEach((layer, disk) => {
          this.heads[disk] = layer
          const mark = marks[disk]
          if (isSafe && mark) this.points[disk]?.push(mark)
        })
      },
      describe: [
        next.map((layer, disk) => () => this.#describe(layer, disk, 'head')),
        old.map((layer, disk) => () => this.#describe(layer, disk, 'frozen')),
      ],
    }
  }

  /** A rollback that nothing disturbs. */
  roll(choices: readonly number[], isSafe: boolean): void {
    const { prepare, mark, flip, describe: described } = this.rollback(choices, isSafe)
    for (const step of [...prepare, ...mark, flip, ...described.flat()]) step()
  }

  survey(order: (a: LayerRecord, b: LayerRecord) => number = () => 0): Survey {
    const records = [...this.records.values()].sort(order)
    return {
      layers: records.map((record) => ({ layer: record.layer, record, allocatedBytes: 0 })),
      blobs: [],
      foreign: [],
    } as unknown as Survey
  }

  #facts = (disk: number): LayerRecord['volume'] => ({
    id: asId<VolumeId>(`volume${disk}`),
    generation: this.#generation,
    name: `disk ${disk}`,
    project: 'project',
    sizeBytes: 1,
    bootable: disk === 0,
    instance: null,
  })

  #layer(disk: number, role: LayerRecord['role'], parent: PointRef | null, by: string): LayerId {
    const layer = asId<LayerId>(`${by}-${disk}`)
    const madeBy = asId<OperationId>(by)
    this.records.set(layer, {
      format: 1,
      installation: 'i',
      madeBy,
      layer,
      pool,
      role,
      parent,
      sizeBytes: 1,
      volume: this.#facts(disk),
      points: [],
    })
    return layer
  }

  #mark(disk: number, { layer, point }: PointRef): void {
    const record = this.#record(layer)
    const made = { point, generation: this.#generation, sizeBytes: 1, snapshots: [] }
    this.records.set(layer, { ...record, role: 'frozen', volume: this.#facts(disk), points: [...record.points, made] })
  }

  #describe(layer: LayerId, disk: number, role: LayerRecord['role']): void {
    this.records.set(layer, { ...this.#record(layer), role, volume: this.#facts(disk) })
  }

  #record(layer: LayerId): LayerRecord {
    const record = this.records.get(layer)
    if (!record) throw new Error(`no layer ${layer}`)
    return record
  }
}

type Step = () => void

const headsOf = (survey: Survey): (LayerId | undefined)[] => {
  const { volumes } = planRecovery(pool, survey)
  return [...volumes].sort((a, b) => (a.id < b.id ? -1 : 1)).map(({ head }) => head)
}

const history = fc.record({
  disks: fc.integer({ min: 1, max: 4 }),
  past: fc.array(fc.record({ choices: fc.array(fc.nat(9), { maxLength: 4 }), isSafe: fc.boolean() }), { maxLength: 6 }),
  last: fc.record({ choices: fc.array(fc.nat(9), { maxLength: 4 }), isSafe: fc.boolean() }),
  shuffle: fc.infiniteStream(fc.double({ min: -1, max: 1, noNaN: true })),
})
type History = typeof history extends fc.Arbitrary<infer T> ? T : never

function poolAfter({ disks, past }: History): Pool {
  const made = new Pool(disks)
  for (const { choices, isSafe } of past) made.roll(choices, isSafe)
  return made
}

/** Does some of the steps, in any order. */
function some(steps: readonly Step[], picks: readonly boolean[]): number {
  const chosen = steps.filter((_, at) => picks[at])
  for (const step of chosen) step()
  return chosen.length
}

const picks = fc.array(fc.boolean(), { minLength: 4, maxLength: 4 })

describe('heads that are found on the storage', () => {
  test('are those of the last rollback, in whatever order the layers are listed', () => {
    fc.assert(
      fc.property(history, (given) => {
        const made = poolAfter(given)
        const random = given.shuffle[Symbol.iterator]()
        expect(headsOf(made.survey(() => Number(random.next().value)))).toEqual(made.heads)
      }),
    )
  })

  test('are the old ones, all of them, as long as not every old head is marked', () => {
    fc.assert(
      fc.property(history, picks, picks, (given, prepared, marked) => {
        const made = poolAfter(given)
        const old = [...made.heads]
        const { prepare, mark } = made.rollback(given.last.choices, given.last.isSafe)
        const all = some(prepare, prepared) === given.disks
        const isWhole = all && mark.length > 0 && some(mark, marked) === given.disks
        if (!isWhole) expect(headsOf(made.survey())).toEqual(old)
      }),
      { numRuns: 500 },
    )
  })

  test('are the new ones, all of them, once all old heads are marked, however many records the flip still owes', () => {
    fc.assert(
      fc.property(history, picks, (given, described) => {
        const made = poolAfter(given)
        const { prepare, mark, flip, describe: owed, next } = made.rollback(given.last.choices, true)
        for (const step of [...prepare, ...mark, flip]) step()
        some(owed[0] ?? [], described)
        expect(headsOf(made.survey())).toEqual(next)
      }),
      { numRuns: 500 },
    )
  })

  test('without safety snapshots one new head that calls itself so is the proof for all', () => {
    fc.assert(
      fc.property(history, picks, (given, described) => {
        const made = poolAfter(given)
        const old = [...made.heads]
        const { prepare, flip, describe: owed, next } = made.rollback(given.last.choices, false)
        for (const step of [...prepare, flip]) step()
        const proofs = some(owed[0] ?? [], described)
        expect(headsOf(made.survey())).toEqual(proofs > 0 ? next : old)
      }),
      { numRuns: 500 },
    )
  })
})

describe('a plan', () => {
  const flipped = () => {
    const made = new Pool(2)
    made.roll([], true)
    return made
  }

  test('takes the successor of a head, which is right whether the pivot happened or not', () => {
    const made = flipped()
    const [head] = made.heads
    const record = made.records.get(head!)!
    const successor = asId<LayerId>('successor')
    made.records.set(successor, {
      ...record,
      layer: successor,
      role: 'successor',
      parent: { layer: head!, point: asId<PointId>('pivot') },
    })
    expect(headsOf(made.survey())[0]).toBe(successor)
  })

  test('keeps points that only a child knows, and forgets parents that are gone', () => {
    const made = flipped()
    const [a = asId<LayerId>(''), b = asId<LayerId>('')] = made.heads
    const old = asId<LayerId>('made-0')
    made.records.set(a, { ...made.records.get(a)!, parent: { layer: old, point: asId<PointId>('unnamed') } })
    made.records.set(b, { ...made.records.get(b)!, parent: { layer: asId<LayerId>('gone'), point: asId<PointId>('p') } })
    const plan = planRecovery(pool, made.survey())
    expect(plan.points.map(({ id }) => id)).toContain('unnamed')
    expect(plan.layers.find(({ id }) => id === b)?.parent).toBeNull()
  })

  test('brings a deleted volume back not as a volume', () => {
    const made = flipped()
    const [head] = made.heads
    made.records.delete(head!)
    expect(headsOf(made.survey())).toEqual([made.heads[1]])
  })

  test('names what it does not know, and leaves it alone', () => {
    const made = flipped()
    const survey = made.survey()
    const strange = {
      ...survey,
      layers: [...survey.layers, { ...survey.layers[0]!, layer: asId<LayerId>('silent'), record: null }],
      foreign: ['notes.txt'],
    }
    const plan = planRecovery(pool, strange)
    expect(plan.problems.join(' ')).toMatch(/Layer silent has no readable record.*'notes.txt' is none of ours/)
    expect(plan.layers.map(({ id }) => id)).not.toContain('silent')
  })
})
