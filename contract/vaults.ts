/** Where backups live, and which hosts use which: for administrators. */
import { z } from 'zod'
import { endpoint, none } from './endpoint.ts'
import { started } from './operations.ts'
import { backupId, bytes, hostGroupId, hostId, name, pageOf, time, vaultId, volumeId } from './words.ts'

const parallel = z.int().min(1).max(64).describe('How many blocks are under way at once')
const limit = z.int().min(65_536).max(Number.MAX_SAFE_INTEGER).nullable().describe('Bytes a second; null: as fast as it goes')

export const vault = z
  .object({
    id: vaultId,
    name: z.string(),
    kind: z.enum(['directory']),
    directory: z.string(),
    default: z.boolean().describe('Used by hosts without a group, and by those whose group has none'),
    bytes_per_second: limit,
    parallel,
    host_groups: z.array(z.string()).describe('That use it'),
    backups: z.int(),
    stored_bytes: bytes.describe('What its backups added to it'),
    damaged_backups: z.int().describe('As the last verification found'),
    tested_at: time.nullable(),
    test_problem: z.string().nullable().describe('Of the last test; null: it went well'),
    created_at: time,
  })
  .meta({ id: 'Vault' })
export type VaultView = z.output<typeof vault>

const ofVault = z.strictObject({ vault: vaultId })
const noun = 'vaults'
const who = 'admin'
const recoveryKey = z.string().min(1).max(500)
const shownOnce = 'Whoever holds it reads all backups, also without this installation. It is shown once and kept nowhere'

const place = {
  name,
  directory: z
    .string()
    .min(1)
    .max(4096)
    .startsWith('/', 'Must be an absolute path')
    .regex(/^[^\p{Cc}]*$/u, 'Must not contain control characters')
    .refine((path) => !path.split('/').includes('..'), 'Must not contain ..')
    .describe('Absolute, the same on every host that uses it: a local disk, or a share that is mounted there'),
  bytes_per_second: limit.default(null),
  parallel: parallel.default(8),
  default: z.boolean().default(false).describe('The first vault is the default in any case'),
}

export const listVaults = endpoint('listVaults', {
  method: 'GET',
  path: '/v1/vaults',
  noun,
  summary: 'List vaults',
  who,
  answer: pageOf(vault),
})

export const showVault = endpoint('showVault', {
  method: 'GET',
  path: '/v1/vaults/{vault}',
  noun,
  summary: 'Show a vault',
  who,
  params: ofVault,
  answer: vault,
  refusals: ['notFound'],
})

export const createVault = endpoint('createVault', {
  method: 'POST',
  path: '/v1/vaults',
  noun,
  summary: 'Make a vault in an empty directory',
  who,
  body: z.strictObject(place),
  answer: z.object({ vault, recovery_key: recoveryKey.describe(shownOnce) }),
  refusals: ['nameTaken', 'vaultNotEmpty', 'vaultUnreachable', 'vaultFull', 'noHost'],
})

export const addVault = endpoint('addVault', {
  method: 'POST',
  path: '/v1/vaults/add',
  noun,
  summary: 'Take in a vault that another installation, or a lost one, has made',
  description: 'Its backups are listed after a recovery.',
  who,
  body: z.strictObject({ ...place, recovery_key: recoveryKey }),
  answer: vault,
  refusals: ['nameTaken', 'notFound', 'recoveryKeyRefused', 'vaultUnreachable', 'noHost'],
})

export const changeVault = endpoint('changeVault', {
  method: 'PATCH',
  path: '/v1/vaults/{vault}',
  noun,
  summary: 'Rename a vault, limit its rate, or make it the default',
  who,
  params: ofVault,
  body: z.strictObject({ name, bytes_per_second: limit, parallel, default: z.boolean() }).partial(),
  answer: vault,
  refusals: ['notFound', 'nameTaken'],
})

export const removeVault = endpoint('removeVault', {
  method: 'DELETE',
  path: '/v1/vaults/{vault}',
  noun,
  summary: 'Forget a vault; what lies in it stays',
  description: 'Refused while backups in it are listed or a host group uses it.',
  who,
  params: ofVault,
  answer: none,
  refusals: ['notFound', 'vaultInUse'],
})

export const testVault = endpoint('testVault', {
  method: 'POST',
  path: '/v1/vaults/{vault}/tests',
  noun,
  summary: 'Write, read and delete a probe',
  who,
  params: ofVault,
  answer: z.object({
    free_bytes: bytes.nullable(),
    shares_disk_with: z.array(z.string()).describe('Pools on the same file system: the vault would not survive its loss'),
  }),
  refusals: ['notFound', 'vaultUnreachable', 'vaultFull', 'noHost'],
})

export const newRecoveryKey = endpoint('newRecoveryKey', {
  method: 'POST',
  path: '/v1/vaults/{vault}/recovery-keys',
  noun,
  summary: 'Make a new recovery key',
  who,
  params: ofVault,
  body: z.strictObject({ replace: z.boolean().default(false).describe('The former keys open the vault no more') }),
  answer: z.object({ recovery_key: recoveryKey.describe(shownOnce) }),
  refusals: ['notFound', 'vaultUnreachable', 'noHost'],
})

export const verifyVault = endpoint('verifyVault', {
  method: 'POST',
  path: '/v1/vaults/{vault}/verifications',
  noun,
  summary: 'Read everything in a vault back and prove it',
  description: 'Backups that are damaged say so afterwards.',
  who,
  params: ofVault,
  gives: 'operation',
  answer: z.object(started),
  refusals: ['notFound', 'resourceBusy', 'vaultUnreachable', 'noHost'],
})

export const recoverVault = endpoint('recoverVault', {
  method: 'POST',
  path: '/v1/vaults/{vault}/recoveries',
  noun,
  summary: 'List what a vault holds and the database does not know',
  who,
  params: ofVault,
  gives: 'operation',
  answer: z.object(started),
  refusals: ['notFound', 'resourceBusy', 'vaultUnreachable', 'noHost'],
})

export const hostGroup = z
  .object({
    id: hostGroupId,
    name: z.string(),
    vault: z.object({ id: vaultId, name: z.string() }).nullable().describe('Null: the default vault'),
    hosts: z.array(z.string()),
    created_at: time,
  })
  .meta({ id: 'HostGroup' })
export type HostGroupView = z.output<typeof hostGroup>

const ofGroup = z.strictObject({ group: hostGroupId })
const groups = 'host groups'

export const listHostGroups = endpoint('listHostGroups', {
  method: 'GET',
  path: '/v1/host-groups',
  noun: groups,
  summary: 'List host groups: hosts that share a vault',
  who,
  answer: pageOf(hostGroup),
})

export const createHostGroup = endpoint('createHostGroup', {
  method: 'POST',
  path: '/v1/host-groups',
  noun: groups,
  summary: 'Make a host group',
  who,
  body: z.strictObject({ name, vault: vaultId.nullable().default(null) }),
  answer: hostGroup,
  refusals: ['notFound', 'nameTaken'],
})

export const changeHostGroup = endpoint('changeHostGroup', {
  method: 'PATCH',
  path: '/v1/host-groups/{group}',
  noun: groups,
  summary: 'Rename a host group, or give it another vault',
  description: 'Backups that are there stay where they are.',
  who,
  params: ofGroup,
  body: z.strictObject({ name, vault: vaultId.nullable() }).partial(),
  answer: hostGroup,
  refusals: ['notFound', 'nameTaken'],
})

export const deleteHostGroup = endpoint('deleteHostGroup', {
  method: 'DELETE',
  path: '/v1/host-groups/{group}',
  noun: groups,
  summary: 'Delete a host group; its hosts are in none then',
  who,
  params: ofGroup,
  answer: none,
  refusals: ['notFound'],
})

export const changeHost = endpoint('changeHost', {
  method: 'PATCH',
  path: '/v1/hosts/{host}',
  noun: groups,
  summary: 'Put a host into a group, or into none',
  who,
  params: z.strictObject({ host: hostId }),
  body: z.strictObject({ group: hostGroupId.nullable() }),
  answer: none,
  refusals: ['notFound'],
})

/** What a done verification has as its `result`. */
export const verificationResult = z
  .object({
    backups: z.int().describe('Proved'),
    read_bytes: bytes,
    damage: z.array(
      z.object({
        object: z.string(),
        what: z.string(),
        backups: z
          .array(z.object({ backup: backupId, volume: volumeId }))
          .describe('That cannot be restored whole because of it'),
      }),
    ),
  })
  .meta({ id: 'VerificationResult' })

/** What a done recovery of a vault has as its `result`. */
export const vaultRecoveryResult = z
  .object({
    backups_added: z.int(),
    backups_mended: z.int().describe('That the database said something else of'),
    problems: z.array(z.string()).describe('What could not be taken over; nothing was done to it'),
  })
  .meta({ id: 'VaultRecoveryResult' })
