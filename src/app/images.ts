/** Reading images: one's own, and those shown to everybody. */
import type { Selectable } from 'kysely'
import { type ImageId, isUuid } from '../domain/ids.ts'
import { refuse } from '../domain/refusals.ts'
import type { Tables } from '../ports/tables.ts'
import { type Caller, isAdmin } from './caller.ts'
import type { PolicyName } from './policy/policy.ts'
import type { Reads } from './reads.ts'

export type ImageRow = Selectable<Tables['images']>

/** An image may be read by its project, by everybody if public or community, and by an administrator. */
export async function findImage(reads: Pick<Reads, 'db' | 'policy'>, caller: Caller, id: string): Promise<ImageRow> {
  const row = isUuid(id)
    ? await reads.db
        .selectFrom('images')
        .selectAll()
        .where('id', '=', id as ImageId)
        .where('deleted_at', 'is', null)
        .executeTakeFirst()
    : undefined
  const shown = row && (row.project_id === caller.project || isAdmin(caller) || open.has(row.visibility))
  if (!row || !shown) throw refuse.notFound({ what: 'Image', id })
  reads.policy.require(caller, 'get_image')
  return row
}

/** One that the caller may also change. What it may read but not change is forbidden, not hidden. */
export async function findOwnImage(
  reads: Pick<Reads, 'db' | 'policy'>,
  caller: Caller,
  id: string,
  rule: PolicyName,
): Promise<ImageRow> {
  const image = await findImage(reads, caller, id)
  reads.policy.require(caller, rule, { project_id: image.project_id })
  return image
}

const open: ReadonlySet<string> = new Set(['public', 'community'])

export type ImageFilter = {
  readonly visibility?: 'public' | 'private' | 'shared' | 'community' | 'all' | undefined
  readonly owner?: string | undefined
  readonly hidden: boolean
}

/** Community images of others are listed only when asked for. */
export async function listImages(
  reads: Pick<Reads, 'db' | 'policy'>,
  caller: Caller,
  filter: ImageFilter,
): Promise<ImageRow[]> {
  reads.policy.require(caller, 'get_images')
  const { visibility, owner, hidden } = filter
  const community = visibility === 'community' || visibility === 'all'
  return await reads.db
    .selectFrom('images')
    .selectAll()
    .where('deleted_at', 'is', null)
    .where('os_hidden', '=', hidden)
    .$if(visibility !== undefined && visibility !== 'all', (query) =>
      query.where('visibility', '=', visibility === 'all' || visibility === undefined ? 'public' : visibility),
    )
    .$if(owner !== undefined, (query) => query.where('project_id', '=', (owner ?? '') as ImageRow['project_id']))
    .$if(!isAdmin(caller), (query) =>
      query.where((row) =>
        row.or([
          row('project_id', '=', caller.project),
          row('visibility', '=', 'public'),
          ...(community ? [row('visibility', '=', 'community')] : []),
        ]),
      ),
    )
    .execute()
}
