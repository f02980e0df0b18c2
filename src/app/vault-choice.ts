/** Which vault a host uses, and which host moves data to and from one. */
import { sql } from 'kysely'
import type { HostId, PoolId, VaultId } from '../domain/ids.ts'
import { refuse } from '../domain/refusals.ts'
import type { Db, Tx } from '../ports/tables.ts'

type Reader = Db | Tx

/** That of the host's group, else the default one. */
export async function vaultOf(db: Reader, host: HostId): Promise<VaultId> {
  const { rows } = await sql<{ vault: VaultId | null }>`
    select coalesce(g.vault_id, (select id from vaults where is_default)) as vault
    from hosts h left join host_groups g on g.id = h.group_id where h.id = ${host}`.execute(db)
  const vault = rows[0]?.vault
  if (!vault) throw refuse.noVault()
  return vault
}

type Wanted = {
  /** It must reach this one. */
  readonly pool?: PoolId
  /** It had better use this one, and so have it mounted. */
  readonly vault?: VaultId
  /** It had better be this one. */
  readonly host?: HostId | null
  readonly silentSeconds: number
}

/** An enabled host that answers. */
export async function moverHost(db: Reader, { pool, vault, host, silentSeconds }: Wanted): Promise<HostId> {
  const { rows } = await sql<{ id: HostId }>`
    select h.id from hosts h left join host_groups g on g.id = h.group_id
    where h.enabled and h.seen_at > now() - make_interval(secs => ${silentSeconds})
      and (${pool ?? null}::uuid is null or h.id in (select host_id from pool_hosts where pool_id = ${pool ?? null}::uuid))
    order by h.id = ${host ?? null}::uuid desc nulls last,
      coalesce(g.vault_id, (select id from vaults where is_default)) = ${vault ?? null}::uuid desc nulls last, h.name
    limit 1`.execute(db)
  const [found] = rows
  if (!found) throw refuse.noHost({ why: pool ? noneReachesPool : noneAnswers })
  return found.id
}

const noneAnswers = 'no enabled host answers. Start an agent, or enable a host.'
const noneReachesPool = 'no enabled host that answers reaches the pool of this volume. Start its agent, or enable its host.'
