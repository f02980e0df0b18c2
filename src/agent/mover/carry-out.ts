/** What each job does. */
import { refuse } from '../../domain/refusals.ts'
import type { CarryOut } from './serve-job.ts'

export const carryOut: CarryOut = async () => {
  throw refuse.notImplemented({ what: 'Moving data to and from vaults' })
}
