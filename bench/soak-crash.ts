/**
 * `npm run soak [-- --hours 2 --seed 7 --only PATTERN --parts 2 --part 0]`: kills controller, agent, PostgreSQL and guest at every
 * point of real rollbacks and real live snapshots of two disks under write load, in an order that the seed gives, until the list
 * is at its end or the time is up. A case that fails is told with its logs' place, and the next one begins on a new installation.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Campaign } from '../test/support/killing/campaign.ts'
import { allCases, nameOf, shuffled } from '../test/support/killing/cases.ts'

const { values } = parseArgs({
  options: {
    hours: { type: 'string', default: '24' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1e6)) },
    only: { type: 'string', default: '' },
    parts: { type: 'string', default: '1' },
    part: { type: 'string', default: '0' },
  },
})
const until = Date.now() + Number(values.hours) * 3_600_000
const pattern = new RegExp(values.only)
const cases = shuffled(
  allCases.filter((one) => pattern.test(nameOf(one))),
  Number(values.seed),
).filter((_, at) => at % Number(values.parts) === Number(values.part))
const tally = { passed: 0, notReached: 0, failed: 0, done: 0, undone: 0 }
console.log(`${cases.length} cases, seed ${values.seed}`)

let campaign: Campaign | null = null
/** Chains of live snapshots are merged in the background; a rollback now and then begins a short one, and short files. */
const casesBetweenRollbacks = 15
let sinceRollback = 0

for (const one of cases) {
  if (Date.now() >= until) break
  try {
    campaign ??= await Campaign.begin()
    const { passed, ended, seconds } = await campaign.run(one)
    tally[passed ? 'passed' : 'notReached']++
    tally[ended]++
    console.log(`${passed ? 'ok  ' : 'none'} ${seconds.toFixed(1).padStart(5)} s  ${ended.padEnd(6)} ${nameOf(one)}`)
    sinceRollback = one.story === 'rollback' && ended === 'done' ? 0 : sinceRollback + 1
    if (sinceRollback >= casesBetweenRollbacks) {
      await campaign.guest.mark()
      await campaign.attempt('rollback')
      sinceRollback = 0
    }
  } catch (error) {
    tally.failed++
    const causes = [error, error instanceof Error ? error.cause : null].flatMap((each) =>
      each instanceof Error ? each.message : [],
    )
    console.log(`FAIL          ${nameOf(one)}\n${causes.join('\n  because ')}`)
    if (campaign === null) break
    await writeFile(join(campaign.on.product.state, 'failure.txt'), `${nameOf(one)}\n${causes.join('\n')}\n`)
    console.log(`  kept in ${campaign.on.product.state}`)
    process.env['KEEP'] = 'yes'
    await campaign.end().catch((failure: unknown) => console.log(`  and it would not end: ${failure}`))
    delete process.env['KEEP']
    campaign = null
    sinceRollback = 0
  }
}
await campaign?.end()
console.log(JSON.stringify({ seed: values.seed, cases: cases.length, ...tally }))
process.exit(tally.failed > 0 ? 1 : 0)
