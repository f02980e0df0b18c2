/** Every place where a real rollback or a real live snapshot can be hit, made from the registries. */
import { type Failpoint, failpoints } from '../../../src/failpoints.ts'
import { failpointsOf, type Moment } from '../../../src/sagas/engine/failpoints.ts'
import { type AnySaga, isPointOfNoReturn } from '../../../src/sagas/engine/run.ts'
import { replaceHeads } from '../../../src/sagas/replace-heads.ts'
import { takePoints } from '../../../src/sagas/take-points.ts'
import { type Victim, victims } from './breakable.ts'

export const stories = ['rollback', 'snapshot', 'frozen-snapshot'] as const
export type Story = (typeof stories)[number]

export type Arming = { readonly point: string; readonly what: string }

export type Case = {
  readonly story: Story
  readonly point: Failpoint
  /** Which passing of the point. */
  readonly pass: number
  readonly victim: Victim
  /** What has to go wrong first for the point to be passed at all. */
  readonly provoke: readonly Arming[]
}

export const nameOf = ({ story, point, pass, victim, provoke }: Case): string =>
  `${story}: ${victim} killed at ${point}${pass > 1 ? ` (pass ${pass})` : ''}${provoke.map((one) => ` after ${one.point}=${one.what}`).join('')}`

const sagaOf = { rollback: replaceHeads, snapshot: takePoints, 'frozen-snapshot': takePoints } as const

const onlyBack: readonly Moment[] = [
  'before-undoing',
  'before-undo',
  'after-undo',
  'after-undone',
  'before-undone',
  'after-undone',
]

/** The fenced call to the agent by which a step does its work, two disks each, in the order in which they come. */
const callOf: Readonly<Record<'rollback' | 'snapshot', Readonly<Record<string, number>>>> = {
  rollback: { prepareLayers: 1, stopInstance: 3, holdOldHeads: 4, markOldHeads: 5 },
  snapshot: { prepareLayers: 1, pivot: 3 },
}

/** What makes the operation go back from as far as there is a way back. */
const turnBack = {
  rollback: { point: 'saga.replace-heads.flipHeads.inside-commit', what: 'error' },
  snapshot: { point: 'agent.call.before', what: `error@${callOf.snapshot['pivot']}` },
} as const satisfies Record<string, Arming>

/** The agent's own points on the way, with how often each is passed. */
const onTheWay: Readonly<Record<Story, readonly { readonly points: RegExp; readonly passes: number }[]>> = {
  rollback: [
    { points: /^agent\.(start|stop)\.(?!after-ask)/, passes: 1 },
    { points: /^agent\.call\./, passes: 12 },
    { points: /^agent\.epoch\./, passes: 1 },
  ],
  snapshot: [
    { points: /^agent\.pivot\.(?!(before|after)-freeze)/, passes: 1 },
    { points: /^agent\.call\./, passes: 8 },
    { points: /^agent\.epoch\./, passes: 1 },
  ],
  'frozen-snapshot': [{ points: /^agent\.pivot\./, passes: 1 }],
}

type Place = Pick<Case, 'point' | 'pass' | 'provoke'>

/** Whether a step can be undone at all: beyond the point of no return it is repeated instead. */
function hasWayBack(saga: AnySaga, name: string): boolean {
  const last = saga.steps.findIndex(isPointOfNoReturn)
  return name === 'end' || saga.steps.findIndex((step) => step.name === name) <= last
}

function placesOfSaga(story: 'rollback' | 'snapshot'): Place[] {
  const saga = sagaOf[story]
  return failpointsOf(saga).flatMap((point): Place[] => {
    const [, , step = '', moment] = point.split('.')
    const place = { point, pass: 1 }
    if (moment === 'after-failed') {
      if (turnBack.rollback.point === `saga.${saga.name}.${step}.inside-commit`)
        return [{ ...place, provoke: [turnBack.rollback] }]
      const call = callOf[story][step]
      return call === undefined ? [] : [{ ...place, provoke: [{ point: 'agent.call.before', what: `error@${call}` }] }]
    }
    if (!onlyBack.some((one) => one === moment)) return [{ ...place, provoke: [] }]
    return hasWayBack(saga, step) ? [{ ...place, provoke: [turnBack[story]] }] : []
  })
}

const placesOfAgent = (story: Story): Place[] =>
  onTheWay[story].flatMap(({ points, passes }) =>
    failpoints
      .filter((point) => points.test(point))
      .flatMap((point) => Array.from({ length: passes }, (_, at): Place => ({ point, pass: at + 1, provoke: [] }))),
  )

export const placesOf = (story: Story): Place[] =>
  story === 'frozen-snapshot' ? placesOfAgent(story) : [...placesOfSaga(story), ...placesOfAgent(story)]

export const ownerOf = (point: string): 'agent' | 'controller' => (point.startsWith('agent.') ? 'agent' : 'controller')

export const allCases: readonly Case[] = stories.flatMap((story) =>
  placesOf(story).flatMap((place) => victims.map((victim) => ({ story, ...place, victim }))),
)

/** The same order for the same seed (mulberry32). */
export function shuffled<T>(items: readonly T[], seed: number): T[] {
  let state = seed >>> 0
  const random = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const order = [...items]
  for (let at = order.length - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1))
    const [here, there] = [order[at], order[other]]
    if (here !== undefined && there !== undefined) [order[at], order[other]] = [there, here]
  }
  return order
}

/** A run says something about a change only if the run before it did the same. */
const usualSeed = 2

/** What a run that has not the time for all does, besides the deciding cases: so many, drawn by a seed that is told. */
export function sampleOf(story: Story, count: number): Case[] {
  const seed = Number(process.env['COMEBACK_SEED'] ?? usualSeed)
  console.log(`${story}: COMEBACK_SEED=${seed}`)
  const strangers = allCases.filter((one) => one.story === story && one.victim !== ownerOf(one.point) && one.pass === 1)
  return shuffled(strangers, seed).slice(0, count)
}

/** Deaths between which it is decided what becomes of the disks. */
const deciding: Readonly<Record<Story, Readonly<Record<string, Victim>>>> = {
  rollback: {
    'saga.replace-heads.flipHeads.inside-commit': 'postgres',
    'saga.replace-heads.flipHeads.after-commit': 'controller',
    'agent.stop.before-quit': 'agent',
    'agent.start.after-spawn': 'agent',
  },
  snapshot: {
    'agent.pivot.before-transaction': 'guest',
    'agent.pivot.after-transaction': 'agent',
    'saga.take-points.pivot.after-effect': 'controller',
    'saga.take-points.recordPoints.inside-commit': 'postgres',
  },
  'frozen-snapshot': { 'agent.pivot.after-freeze': 'agent', 'agent.pivot.before-transaction': 'controller' },
}

export const decidingCases = (story: Story): Case[] =>
  allCases.filter((one) => one.story === story && one.pass === 1 && deciding[story][one.point] === one.victim)
