/** Every saga with the requests that start it. A saga that is registered without a fixture does not compile. */

import type { Saga } from '../../src/sagas/engine/define.ts'
import type { SagaName, sagas } from '../../src/sagas/index.ts'
import type { SagaFixture } from '../support/crash/begun.ts'
import { backupFixtures } from './fixtures/backups.ts'
import { imageFixtures } from './fixtures/images.ts'
import { instanceFixtures } from './fixtures/instances.ts'
import { layerFixtures } from './fixtures/layers.ts'
import { snapshotFixtures } from './fixtures/snapshots.ts'
import { vaultFixtures } from './fixtures/vaults.ts'
import { volumeFixtures } from './fixtures/volumes.ts'

export type ParamsOf<S> = S extends Saga<infer _World, infer Params, infer _Tx> ? Params : never

/** By saga, then by the situation in which it is asked for. */
export type Fixtures<Names extends SagaName> = {
  readonly [Name in Names]: Readonly<Record<string, SagaFixture<ParamsOf<(typeof sagas)[Name]>>>>
}

export const fixtures: Fixtures<SagaName> = {
  ...backupFixtures,
  ...imageFixtures,
  ...instanceFixtures,
  ...layerFixtures,
  ...snapshotFixtures,
  ...vaultFixtures,
  ...volumeFixtures,
}
