-- Which operations wait for one that has ended.
create index operations_waiting on operations (waits_for) where waits_for is not null and ended_at is null;

-- What lies in a vault of a volume and may not be needed any more: looked through from time to time until nothing is left over.
create table sweeps (
  vault_id uuid not null references vaults on delete cascade,
  volume_id uuid not null,
  due_at timestamptz not null default clock_timestamp(),
  primary key (vault_id, volume_id)
);
