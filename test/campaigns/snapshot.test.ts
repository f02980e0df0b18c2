/** The same for live snapshots of two disks, with the guest's file systems frozen and without. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Campaign } from '../support/killing/campaign.ts'
import { decidingCases, nameOf, sampleOf } from '../support/killing/cases.ts'

const minutes = 60_000
let campaign: Campaign

beforeAll(async () => {
  campaign = await Campaign.begin()
}, 10 * minutes)
afterAll(() => campaign?.end(), 5 * minutes)

const cases = [...decidingCases('snapshot'), ...decidingCases('frozen-snapshot'), ...sampleOf('snapshot', 5)]

test.each(cases.map((one) => [nameOf(one), one] as const))('%s', { timeout: 10 * minutes }, async (_name, one) => {
  expect(await campaign.run(one)).toMatchObject({ passed: true })
})
