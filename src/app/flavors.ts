/** Flavors: everybody reads the public ones, administrators make and remove them. Instances keep a copy of theirs. */
import type { Selectable } from 'kysely'
import { asId, type FlavorId } from '../domain/ids.ts'
import { refuse } from '../domain/refusals.ts'
import type { Db, Tables } from '../ports/tables.ts'
import { type Caller, isAdmin } from './caller.ts'

export type FlavorRow = Selectable<Tables['flavors']>

export async function findFlavor(db: Db, caller: Caller, id: string): Promise<FlavorRow> {
  const row = await db.selectFrom('flavors').selectAll().where('id', '=', asId<FlavorId>(id)).executeTakeFirst()
  if (!row || (!row.is_public && !isAdmin(caller))) throw refuse.notFound({ what: 'Flavor', id })
  return row
}

/** `isPublic: null` is all of them, for an administrator. */
export async function listFlavors(
  db: Db,
  caller: Caller,
  filter: { isPublic: boolean | null; minDisk: number; minRam: number },
): Promise<FlavorRow[]> {
  const isPublic = isAdmin(caller) ? filter.isPublic : true
  return await db
    .selectFrom('flavors')
    .selectAll()
    .where('disabled', '=', false)
    .where('disk_gib', '>=', filter.minDisk)
    .where('ram_mib', '>=', filter.minRam)
    .$if(isPublic !== null, (query) => query.where('is_public', '=', isPublic ?? true))
    .execute()
}

export type NewFlavor = {
  readonly id: string | null
  readonly name: string
  readonly vcpus: number
  readonly ramMib: number
  readonly diskGib: number
  readonly isPublic: boolean
  readonly description: string | null
}

export async function createFlavor(db: Db, flavor: NewFlavor): Promise<FlavorRow> {
  const row = {
    id: asId<FlavorId>(flavor.id ?? globalThis.crypto.randomUUID()),
    name: flavor.name,
    vcpus: flavor.vcpus,
    ram_mib: flavor.ramMib,
    disk_gib: flavor.diskGib,
    is_public: flavor.isPublic,
    description: flavor.description,
  }
  const made = await db
    .insertInto('flavors')
    .values(row)
    .onConflict((conflict) => conflict.doNothing())
    .returningAll()
    .executeTakeFirst()
  if (made) return made
  const sameId = await db.selectFrom('flavors').select('id').where('id', '=', row.id).executeTakeFirst()
  throw sameId
    ? refuse.nameTaken({ what: 'Flavor with ID', name: row.id })
    : refuse.nameTaken({ what: 'Flavor', name: row.name })
}

export async function describeFlavor(db: Db, id: FlavorId, description: string | null): Promise<FlavorRow> {
  return await db.updateTable('flavors').set({ description }).where('id', '=', id).returningAll().executeTakeFirstOrThrow()
}

export async function deleteFlavor(db: Db, id: FlavorId): Promise<void> {
  await db.deleteFrom('flavors').where('id', '=', id).execute()
}

export async function setExtraSpecs(
  db: Db,
  id: FlavorId,
  change: (specs: Readonly<Record<string, string>>) => Readonly<Record<string, string>>,
) {
  return await db.transaction().execute(async (tx) => {
    const row = await tx.selectFrom('flavors').select('extra_specs').where('id', '=', id).forUpdate().executeTakeFirst()
    if (!row) throw refuse.notFound({ what: 'Flavor', id })
    const specs = change(row.extra_specs)
    await tx
      .updateTable('flavors')
      .set({ extra_specs: JSON.stringify(specs) })
      .where('id', '=', id)
      .execute()
    return specs
  })
}
