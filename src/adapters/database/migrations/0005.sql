-- Vaults: where backups live. The data key is sealed under the installation's own secret, which is not in the database.
create table vaults (
  id uuid primary key,
  name text not null unique,
  kind text not null check (kind in ('directory')),
  place jsonb not null,
  sealed_key bytea not null,
  is_default boolean not null default false,
  bytes_per_second bigint check (bytes_per_second > 0), -- null: as fast as it goes
  parallel int not null default 8 check (parallel between 1 and 64),
  created_at timestamptz not null default clock_timestamp(),
  tested_at timestamptz,
  test_problem text -- of the last test; null: it went well
);
create unique index vaults_one_default on vaults (is_default) where is_default;

-- Hosts that share a vault. A host without a group uses the default vault.
create table host_groups (
  id uuid primary key,
  name text not null unique,
  vault_id uuid references vaults,
  created_at timestamptz not null default clock_timestamp()
);
alter table hosts add column group_id uuid references host_groups;

create table backups (
  id uuid primary key,
  project_id text not null,
  user_id text,
  volume_id uuid not null, -- may be of a volume that this database never had: read back from a vault
  vault_id uuid not null references vaults,
  pool_id uuid,            -- whose host wrote it
  name text not null default '',
  description text,
  state text not null check (state in ('creating', 'available', 'error', 'deleting', 'deleted')),
  fail_reason text,
  metadata jsonb not null default '{}',
  facts jsonb not null,    -- what the manifest says of the volume: names, bootable, image metadata
  size_bytes bigint not null,
  stored_bytes bigint,
  read_bytes bigint,
  root_hash text,
  base_backup_id uuid,     -- only changes since it were read; null: everything was
  full_because text,       -- why everything was read
  -- The point it is made of, under the name of a hidden snapshot of kind 'backup'; kept for the next one's sake. Null: no longer kept.
  snapshot_id uuid references volume_snapshots,
  source_snapshot_id uuid, -- the user's own snapshot that it was made of, if it was
  consistency text check (consistency in ('application', 'filesystem', 'crash')),
  consistency_why text,    -- why it is less than was asked for
  damage text,             -- what a verification found; null: nothing
  verified_at timestamptz,
  operation_id uuid not null,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  deleted_at timestamptz
);
create index backups_by_volume on backups (volume_id, created_at) where deleted_at is null;
create index backups_by_project on backups (project_id) where deleted_at is null;
create index backups_by_vault on backups (vault_id) where deleted_at is null;

-- The point that a backup is made of.
alter table volume_snapshots drop constraint volume_snapshots_kind_check;
alter table volume_snapshots add check (kind in ('user', 'instance', 'safety', 'backup'));
alter table volume_snapshots add column consistency_why text;

-- An operation that begins when another has ended, however it ended.
alter table operations add column waits_for uuid references operations;

-- The volume of a restore in the making names the backup it comes from.
alter table volumes add column source_backup_id uuid;
