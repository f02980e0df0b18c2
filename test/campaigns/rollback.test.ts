/**
 * Rollbacks of two disks under write load while the controller, the agent, PostgreSQL or the guest is killed at a point of the way:
 * some that decide, and some drawn by a seed, the same in every run unless COMEBACK_SEED names another. `npm run soak` takes every point with each of them.
 */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Campaign } from '../support/killing/campaign.ts'
import { decidingCases, nameOf, sampleOf } from '../support/killing/cases.ts'

const minutes = 60_000
let campaign: Campaign

beforeAll(async () => {
  campaign = await Campaign.begin()
}, 10 * minutes)
afterAll(() => campaign?.end(), 5 * minutes)

const cases = [...decidingCases('rollback'), ...sampleOf('rollback', 6)]

test.each(cases.map((one) => [nameOf(one), one] as const))('%s', { timeout: 10 * minutes }, async (_name, one) => {
  expect(await campaign.run(one)).toMatchObject({ passed: true })
})
