import type { Microversions } from '../microversions.ts'

export const volumeVersions = { service: 'volume', min: [3, 0], max: [3, 70] } as const satisfies Microversions
