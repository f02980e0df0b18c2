/** The native interface at `/v1`: what `contract/` describes, on the use cases. */
import { openApi } from '../../../contract/openapi.ts'
import { type Face, open } from '../http/face.ts'
import { administrationRoutes } from './administration.ts'
import { backupRoutes } from './backups.ts'
import { hostGroupRoutes } from './host-groups.ts'
import { instanceRoutes } from './instances.ts'
import type { NativeNeeds } from './needs.ts'
import { operationRoutes } from './operations.ts'
import { planRoutes } from './plans.ts'
import { rollbackRoutes } from './rollbacks.ts'
import { snapshotRoutes } from './snapshots.ts'
import { vaultRoutes } from './vaults.ts'
import { volumeSnapshotRoutes } from './volume-snapshots.ts'
import { volumeRoutes } from './volumes.ts'
import { envelope } from './wire.ts'

export const nativeFace = (needs: NativeNeeds): Face => ({
  prefix: '/v1',
  envelope,
  routes: (app) => {
    app.get('/openapi.json', open, async () => openApi())
    for (const routes of all) routes(app, needs)
  },
})

const all = [
  instanceRoutes,
  snapshotRoutes,
  rollbackRoutes,
  operationRoutes,
  volumeRoutes,
  planRoutes,
  volumeSnapshotRoutes,
  backupRoutes,
  vaultRoutes,
  hostGroupRoutes,
  administrationRoutes,
]
