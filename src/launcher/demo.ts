/**
 * `npm run demo`: the whole story on a real guest of its own, proved by what the guest reads. It ends with 0 only then.
 * `npm run -s demo -- --json`: the story goes to stderr, and one JSON line to stdout.
 */
import { join } from 'node:path'
import { agentConfig, controllerConfig } from '../config.ts'
import { asId, type InstanceId } from '../domain/ids.ts'
import { logIn } from './client.ts'
import { clearStage, type Props, setStage } from './demo/cloud.ts'
import { type Tell, tellStory, type Verdict } from './demo/story.ts'
import { ensureDemoGuest } from './guest/build.ts'
import { guestShell } from './guest/shell.ts'
import { orExplain, say } from './say.ts'
import { ensureDemoImage, ensureFlavors } from './seed.ts'
import { bringUp } from './up.ts'

const asJson = process.argv.includes('--json')
const print = asJson ? say : (text: string) => void process.stdout.write(`${text}\n`)
const phases: Record<string, number> = {}

const tell: Tell = async (phase, what, work, outcome) => {
  const began = performance.now()
  const result = await work()
  const seconds = (performance.now() - began) / 1000
  phases[phase] = Math.round(seconds * 1000) / 1000
  print(`  ${what.padEnd(46)}${`${seconds.toFixed(2)} s`.padStart(9)}   ${outcome?.(result) ?? ''}`.trimEnd())
  return result
}

async function play(): Promise<Verdict> {
  print("\nComeback's story, on a guest of its own with two disks\n")
  const up = await tell(
    'start',
    'Comeback runs',
    () => bringUp({ controller: controllerConfig(), agent: agentConfig() }),
    ({ parts }) => parts.join(', '),
  )
  const client = await logIn(up)
  const { image, flavor } = await tell('image', 'the demo guest is there', async () => {
    const guest = await ensureDemoGuest(join(up.places.state, 'guest'))
    return { image: await ensureDemoImage(client, guest), flavor: await ensureFlavors(client) }
  })
  const props: Props = { servers: [], images: [], volumes: [] }
  const clear = once(() => clearStage(client, props))
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void clear().finally(() => process.exit(130)))
  try {
    const stage = await tell('create', 'an instance with two disks', () => setStage(client, image, flavor, props))
    return await tellStory(stage, guestShell(up.places.run, asId<InstanceId>(stage.server)), tell)
  } finally {
    await tell('cleanup', 'what the story made is taken away', clear)
  }
}

function once(work: () => Promise<void>): () => Promise<void> {
  let begun: Promise<void> | undefined
  return () => {
    begun ??= work()
    return begun
  }
}

let verdict: Verdict = { ok: false, doubts: ['the story broke off'] }
await orExplain(async () => {
  verdict = await play()
  for (const doubt of verdict.doubts) print(`  NOT PROVED  ${doubt}`)
  if (verdict.ok) print('\nProved: each time the guest, started anew, read on both disks exactly what it had written then.\n')
})
if (!verdict.ok) process.exitCode = 1
if (asJson)
  process.stdout.write(`${JSON.stringify({ ok: verdict.ok, phases, ...(verdict.ok ? {} : { doubts: verdict.doubts }) })}\n`)
