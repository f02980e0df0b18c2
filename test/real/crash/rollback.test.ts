/**
 * Rollbacks of two disks under write load while the controller, the agent, PostgreSQL and the guest are killed. Every point once by
 * the death of its own process, in a few long gauntlets; other deaths by sample. `npm run soak` takes every point alone, with each.
 */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Campaign } from '../../support/killing/campaign.ts'
import { agentPoints, failedSteps, nameOf, sagaPoints, sampleOf } from '../../support/killing/cases.ts'

const minutes = 60_000
let campaign: Campaign

beforeAll(async () => {
  campaign = await Campaign.begin()
}, 10 * minutes)
afterAll(() => campaign?.end(), 5 * minutes)

test('the controller dies at every point on the way forward', { timeout: 15 * minutes }, async () => {
  await campaign.gauntlet('rollback', sagaPoints('rollback').forward)
})

test('the controller dies at every point on the way back', { timeout: 15 * minutes }, async () => {
  const { back, turnBack } = sagaPoints('rollback')
  await campaign.gauntlet('rollback', back, [turnBack])
})

test('the controller dies after each step that failed', { timeout: 15 * minutes }, async () => {
  for (const { point, provoke } of failedSteps('rollback')) await campaign.gauntlet('rollback', [point], provoke)
})

test('the agent dies at every point of its own', { timeout: 15 * minutes }, async () => {
  await campaign.gauntlet('rollback', agentPoints('rollback'))
})

test.each(sampleOf('rollback', 4).map((one) => [nameOf(one), one] as const))(
  '%s',
  { timeout: 10 * minutes },
  async (_name, one) => {
    expect(await campaign.run(one)).toMatchObject({ passed: true })
  },
)
