import { endpoints } from '../../../contract/index.ts'
import { type Adder, action, age, count, examples } from '../command.ts'
import { size, table, when } from '../output.ts'
import type { Session } from '../session.ts'

export const administrationCommands: Adder = (program, terminal) => {
  const safety = program.command('safety').description('Lists safety snapshots, and cleans them up.')
  safety
    .command('list', { isDefault: true })
    .description('Lists safety snapshots, latest first.')
    .option('--older-than <age>', 'only older ones: 90s, 15m, 12h, 7d, 2w', age)
    .option('--all-projects', 'of all projects (administrators)')
    .option('--limit <count>', 'at most so many', count, 100)
    .addHelpText('after', examples('safety', 'safety list --older-than 30d --all-projects'))
    .action(action(terminal, listSafety))
  safety
    .command('clean-up')
    .description('Deletes safety snapshots of all projects by age (administrators).')
    .requiredOption('--older-than <age>', '90s, 15m, 12h, 7d, 2w', age)
    .addHelpText('after', examples('safety clean-up --older-than 30d'))
    .action(action(terminal, cleanUp))
  program
    .command('audit')
    .description('Lists who asked for what and what came of it, latest first (administrators).')
    .option('--since <age>', 'only so far back: 15m, 12h, 7d', age)
    .option('--user <user>', 'only by this user, by id or name')
    .option('--action <action>', 'only this action')
    .option('--request <id>', 'only this request')
    .option('--limit <count>', 'at most so many', count, 100)
    .addHelpText('after', examples('audit --since 1d --user anna', 'audit --request req-… -o json'))
    .action(action(terminal, audit))
  program
    .command('pools')
    .description('Lists storage pools and their space (administrators).')
    .addHelpText('after', examples('pools'))
    .action(action(terminal, pools))
  program
    .command('hosts')
    .description('Lists hosts (administrators).')
    .addHelpText('after', examples('hosts -o json'))
    .action(action(terminal, hosts))
}

type SafetyOptions = { olderThan?: number; allProjects?: boolean; limit: number }

async function listSafety(session: Session, { olderThan, allProjects, limit }: SafetyOptions): Promise<void> {
  const query = {
    limit,
    kind: 'safety' as const,
    ...(olderThan === undefined ? {} : { older_than_seconds: olderThan }),
    ...(allProjects ? { all_projects: 'true' as const } : {}),
  }
  session.print(await session.client.call(endpoints.listVolumeSnapshots, { query }), ({ items }) =>
    table(
      ['id', 'taken', 'volume', 'device', 'size', 'operation'],
      items.map((one) => [
        one.id,
        when(one.created_at),
        one.volume_name || one.volume,
        one.device,
        size(one.size_bytes),
        one.operation,
      ]),
    ),
  )
}

async function cleanUp(session: Session, { olderThan }: { olderThan: number }): Promise<void> {
  await session.confirm(
    'Safety snapshots of all projects will be deleted; the rollbacks they belong to cannot be undone after that.',
  )
  const begun = await session.client.call(endpoints.cleanUpSafetySnapshots, { body: { older_than_seconds: olderThan } })
  session.print(begun, ({ operations }) =>
    `${operations.length} operation(s) begun${operations.length > 0 ? ':' : '.'} ${operations.join(' ')}`.trim(),
  )
}

type AuditOptions = { since?: number; user?: string; action?: string; request?: string; limit: number }

async function audit(session: Session, { since, user, action, request, limit }: AuditOptions): Promise<void> {
  const query = {
    limit,
    ...(since === undefined ? {} : { since: new Date(Date.now() - since * 1000).toISOString() }),
    ...(user === undefined ? {} : { user }),
    ...(action === undefined ? {} : { action }),
    ...(request === undefined ? {} : { request_id: request }),
  }
  session.print(await session.client.call(endpoints.listAudit, { query }), ({ items }) =>
    table(
      ['at', 'user', 'project', 'action', 'target', 'outcome', 'request'],
      items.map((one) => [
        when(one.at),
        one.user_name ?? one.user,
        one.project_name ?? one.project,
        one.action,
        one.target,
        one.outcome,
        one.request_id,
      ]),
    ),
  )
}

async function pools(session: Session): Promise<void> {
  session.print(await session.client.call(endpoints.listPools, {}), ({ items }) =>
    table(
      ['name', 'kind', 'free', 'total', 'provisioned', 'volumes', 'hosts', 'measured'],
      items.map((one) => [
        one.name,
        one.kind,
        `${size(one.free_bytes)}${one.low_since === null ? '' : ' (LOW)'}`,
        size(one.total_bytes),
        size(one.provisioned_bytes),
        one.volumes,
        one.hosts.join(' '),
        when(one.measured_at),
      ]),
    ),
  )
}

async function hosts(session: Session): Promise<void> {
  session.print(await session.client.call(endpoints.listHosts, {}), ({ items }) =>
    table(
      ['name', 'enabled', 'seen', 'qemu', 'accelerator', 'cpus', 'memory', 'running'],
      items.map((one) => [
        one.name,
        one.enabled ? 'yes' : `no: ${one.disabled_reason ?? ''}`,
        when(one.seen_at),
        one.qemu_version,
        one.accelerator,
        one.vcpus,
        one.memory_mib === null ? null : size(one.memory_mib * 1024 ** 2),
        one.instances,
      ]),
    ),
  )
}
