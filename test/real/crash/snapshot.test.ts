/** The same for live snapshots of two disks, with the guest's file systems frozen and without. */
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
  await campaign.gauntlet('snapshot', sagaPoints('snapshot').forward)
})

test('the controller dies at every point on the way back', { timeout: 15 * minutes }, async () => {
  const { back, turnBack } = sagaPoints('snapshot')
  await campaign.gauntlet('snapshot', back, [turnBack])
})

test('the controller dies after each step that failed', { timeout: 15 * minutes }, async () => {
  for (const { point, provoke } of failedSteps('snapshot')) await campaign.gauntlet('snapshot', [point], provoke)
})

test('the agent dies at every point of its own', { timeout: 15 * minutes }, async () => {
  await campaign.gauntlet('snapshot', agentPoints('snapshot'))
})

test('an agent that dies between freeze and thaw leaves no guest frozen', { timeout: 15 * minutes }, async () => {
  await campaign.gauntlet('frozen-snapshot', agentPoints('frozen-snapshot'))
})

test.each([...sampleOf('snapshot', 3), ...sampleOf('frozen-snapshot', 2)].map((one) => [nameOf(one), one] as const))(
  '%s',
  { timeout: 10 * minutes },
  async (_name, one) => {
    expect(await campaign.run(one)).toMatchObject({ passed: true })
  },
)
