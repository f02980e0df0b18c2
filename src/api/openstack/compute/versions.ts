import type { Microversions } from '../microversions.ts'

export const computeVersions = {
  service: 'compute',
  min: [2, 1],
  max: [2, 95],
  legacyHeader: 'X-OpenStack-Nova-API-Version',
} as const satisfies Microversions
