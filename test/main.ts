/**
 * `npm test`: the set-up, then every check and test that this machine can run, then what was left out and why.
 * `npm test -- unit real` runs only these groups; a word with a slash or dot picks files. With CI=true nothing may be left out.
 */
import { agentConfig } from '../src/config.ts'
import { ensurePackages, missing } from '../src/launcher/packages.ts'
import { ensureUser } from '../src/launcher/system-user.ts'
import { checks, type Group, rounds } from './runner/groups.ts'
import { check, sum, type Tally, tests } from './runner/run.ts'

const strict = Boolean(process.env['CI'])
const words = process.argv.slice(2)
const files = words.filter((word) => /[/.]/.test(word))
const names = words.filter((word) => !files.includes(word))
const all = ['static', ...rounds.flat().map(({ name }) => name)]
const unknown = names.filter((name) => !all.includes(name))
if (unknown.length > 0) {
  console.error(`There is no group ${unknown.join(', ')}. Groups: ${all.join(', ')}.`)
  process.exit(2)
}
const isWanted = (name: string): boolean =>
  names.length === 0 ? name !== 'static' || files.length === 0 : names.includes(name)

const leftOut: string[] = []

async function withNeeds(groups: readonly Group[]): Promise<readonly Group[]> {
  const wanted = groups.filter(({ name }) => isWanted(name))
  const needs = [...new Map(wanted.flatMap((group) => group.needs).map((need) => [need.package, need])).values()]
  try {
    await ensurePackages(needs)
    return wanted
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
  }
  const lacking = new Set((await missing(needs)).map((need) => need.package))
  const can = wanted.filter((group) => !group.needs.some((need) => lacking.has(need.package)))
  for (const group of wanted.filter((each) => !can.includes(each))) {
    const why = group.needs.map((need) => need.package).filter((name) => lacking.has(name))
    leftOut.push(`${group.name} (${group.about}): ${why.join(', ')} not installed`)
  }
  return can
}

const tallies: Tally[] = []
const runnable = new Set(await withNeeds(rounds.flat()))
if (runnable.size > 0) await ensureUser(agentConfig({}).qemuUser)
if (isWanted('static')) for (const { name, command } of checks) tallies.push(await check(name, command))
for (const round of rounds) {
  const groups = round.filter((group) => runnable.has(group))
  tallies.push(
    await tests(
      groups.map(({ name }) => name),
      files,
    ),
  )
}

const { passed, failed, skipped } = sum(tallies)
leftOut.push(...skipped)
if (failed.length > 0) console.log(`\nFailed:\n${failed.map((name) => `  ${name}`).join('\n')}`)
if (leftOut.length > 0)
  console.log(`\nLeft out${strict ? ' (a failure in CI)' : ''}:\n${leftOut.map((name) => `  ${name}`).join('\n')}`)
console.log(`\n${passed} passed, ${failed.length} failed, ${leftOut.length} skipped`)
process.exitCode = failed.length > 0 || (strict && leftOut.length > 0) ? 1 : 0
