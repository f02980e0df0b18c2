-- Plans of volumes: what may be kept, and how soon again. A volume without a plan has neither caps nor cooldown.
create table plans (
  id uuid primary key,
  name text not null unique,
  max_snapshots int not null default 5 check (max_snapshots >= 0),
  max_backups int not null default 10 check (max_backups >= 0),
  cooldown_seconds int not null default 300 check (cooldown_seconds >= 0),
  snapshot_credit_value double precision not null default 0 check (snapshot_credit_value >= 0), -- per GiB and month
  backup_credit_value double precision not null default 0 check (backup_credit_value >= 0),
  created_at timestamptz not null default clock_timestamp()
);
alter table volumes
  add column plan_id uuid references plans,
  add column cooldown_until timestamptz;
create index volumes_by_plan on volumes (plan_id) where deleted_at is null;

-- What a user asked for one volume alone: bound by the guard rails, and shown as what the volume is busy with.
alter table operations
  add column volume_id uuid,
  add column volume_operation text check (volume_operation in ('snapshot', 'backup', 'restore')),
  add check ((volume_id is null) = (volume_operation is null));
create unique index operations_one_a_volume on operations (volume_id) where volume_id is not null and ended_at is null;
create index operations_of_volumes_by_user on operations (user_id) where volume_id is not null and ended_at is null;
