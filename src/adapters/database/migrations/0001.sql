-- Times are the database's clock. Sizes are bytes unless the name says otherwise. `deleted_at` rows stay for history.

-- Epochs: one sequence for all claims, so that any two owners of anything can be compared.
create sequence epochs;

-- What this database is: written into every layer record, so that the collector knows its own names.
create table installation (
  id uuid primary key,
  created_at timestamptz not null default now()
);

-- Identity -----------------------------------------------------------------------------------------------------------
create table projects (
  id text primary key,
  name text not null unique,
  description text not null default '',
  enabled boolean not null default true,
  created_at timestamptz not null default now()
);
create table users (
  id text primary key,
  name text not null unique,
  password_hash text not null,
  enabled boolean not null default true,
  default_project_id text references projects,
  created_at timestamptz not null default now()
);
create table role_assignments (
  user_id text not null references users on delete cascade,
  project_id text not null references projects on delete cascade,
  role text not null check (role in ('admin', 'member', 'reader')),
  primary key (user_id, project_id, role)
);
-- Only the SHA-256 of a token is kept. `body` is the exact answer of its issue, replayed by GET /v3/auth/tokens.
create table tokens (
  hash bytea primary key,
  user_id text not null references users on delete cascade,
  project_id text references projects on delete cascade,
  roles text[] not null,
  body jsonb not null,
  issued_at timestamptz not null default now(),
  expires_at timestamptz not null,
  revoked_at timestamptz
);
create index tokens_expiry on tokens (expires_at);

-- Hosts and pools ------------------------------------------------------------------------------------------------------
create table hosts (
  id uuid primary key,
  name text not null unique,
  agent_address text not null,
  enabled boolean not null default true,
  disabled_reason text,
  facts jsonb not null default '{}',
  seen_at timestamptz,
  created_at timestamptz not null default now()
);
create table pools (
  id uuid primary key,
  name text not null unique,
  kind text not null check (kind in ('qcow2', 'rbd', 'memory')),
  total_bytes bigint not null default 0,
  free_bytes bigint not null default 0,
  measured_at timestamptz,
  created_at timestamptz not null default now()
);
create table pool_hosts (
  pool_id uuid not null references pools on delete cascade,
  host_id uuid not null references hosts on delete cascade,
  primary key (pool_id, host_id)
);

-- Catalogue of what can be made -----------------------------------------------------------------------------------------
create table flavors (
  id text primary key,
  name text not null unique,
  vcpus int not null check (vcpus between 1 and 1024),
  ram_mib int not null check (ram_mib between 1 and 16777216),
  disk_gib int not null check (disk_gib >= 0),
  ephemeral_gib int not null default 0,
  swap_mib int not null default 0,
  rxtx_factor real not null default 1,
  is_public boolean not null default true,
  disabled boolean not null default false,
  description text,
  extra_specs jsonb not null default '{}',
  created_at timestamptz not null default now()
);
create table keypairs (
  user_id text not null references users on delete cascade,
  name text not null,
  type text not null default 'ssh',
  public_key text not null,
  fingerprint text not null,
  created_at timestamptz not null default now(),
  primary key (user_id, name)
);

-- Storage: layers, points, heads ----------------------------------------------------------------------------------------
-- A layer is what storage holds (a qcow2 file, an RBD image); its content starts as the point it was made from.
create table layers (
  id uuid primary key,
  pool_id uuid not null references pools,
  parent_point_id uuid, -- null: starts blank
  size_bytes bigint not null check (size_bytes >= 0),
  -- making: named, maybe on storage; present: on storage; removing: unreferenced, being taken away
  state text not null check (state in ('making', 'present', 'removing')),
  made_by uuid not null, -- the operation that chose the name
  created_at timestamptz not null default now()
);
create table points (
  id uuid primary key,
  layer_id uuid not null references layers,
  size_bytes bigint not null,
  generation bigint not null, -- of the volume when marked
  marked_at timestamptz not null default now()
);
alter table layers add foreign key (parent_point_id) references points;
create index layers_by_parent on layers (parent_point_id);
create index points_by_layer on points (layer_id);

create table images (
  id uuid primary key,
  project_id text not null,
  name text,
  status text not null check (status in ('queued', 'saving', 'importing', 'active', 'killed', 'deleted')),
  visibility text not null check (visibility in ('public', 'private', 'shared', 'community')),
  container_format text,
  disk_format text,
  size_bytes bigint,
  virtual_size_bytes bigint,
  checksum text, -- md5 of what was uploaded
  os_hash_algo text,
  os_hash_value text,
  min_disk_gib int not null default 0,
  min_ram_mib int not null default 0,
  protected boolean not null default false,
  os_hidden boolean not null default false,
  tags text[] not null default '{}',
  properties jsonb not null default '{}', -- custom properties, all values text
  pool_id uuid references pools,   -- where its data was imported; null for zero-byte instance snapshots
  layer_id uuid references layers, -- disk images: a frozen layer
  point_id uuid references points, -- disk images: the end of that layer; what volumes are made from
  -- instance snapshots: the instance, and its configuration when taken
  instance_id uuid,
  snapshot_of jsonb,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  deleted_at timestamptz
);
create index images_by_instance on images (instance_id) where deleted_at is null;

create table volumes (
  id uuid primary key,
  project_id text not null,
  user_id text,
  name text not null default '',
  description text,
  pool_id uuid not null references pools,
  size_bytes bigint not null check (size_bytes > 0),
  head_layer_id uuid unique references layers, -- null only in deleted rows
  generation bigint not null default 0,
  state text not null check (state in ('creating', 'ready', 'error', 'deleting')),
  bootable boolean not null default false,
  metadata jsonb not null default '{}',
  image_id uuid,            -- image it was made from
  image_metadata jsonb,     -- Cinder's volume_image_metadata
  source_snapshot_id uuid,
  source_volume_id uuid,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  deleted_at timestamptz,
  check (head_layer_id is not null or deleted_at is not null)
);
create index volumes_by_project on volumes (project_id) where deleted_at is null;

create table volume_snapshots (
  id uuid primary key,
  project_id text not null,
  user_id text,
  volume_id uuid not null references volumes,
  point_id uuid references points, -- null while creating and in deleted or failed rows
  name text not null default '',
  description text,
  kind text not null check (kind in ('user', 'instance', 'safety')),
  size_bytes bigint not null,
  state text not null check (state in ('creating', 'available', 'error', 'deleting')),
  metadata jsonb not null default '{}',
  instance_id uuid, -- instance it belonged to when taken
  device text,      -- device name when taken, without /dev/
  image_id uuid references images, -- instance snapshot that made it
  operation_id uuid not null,
  consistency text check (consistency in ('application', 'filesystem', 'crash')),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  deleted_at timestamptz
);
create index snapshots_by_volume on volume_snapshots (volume_id) where deleted_at is null;
create index snapshots_by_point on volume_snapshots (point_id) where deleted_at is null;
create index snapshots_by_image on volume_snapshots (image_id) where deleted_at is null;

-- Instances ---------------------------------------------------------------------------------------------------------------
create table instances (
  id uuid primary key,
  seq bigint generated always as identity, -- OS-EXT-SRV-ATTR:instance_name
  project_id text not null,
  user_id text not null,
  name text not null,
  description text,
  state text not null check (state in ('building', 'running', 'stopped', 'error', 'deleting', 'deleted')),
  host_id uuid references hosts,
  flavor jsonb not null,          -- FlavorSpec as it was
  image_id uuid,
  boot jsonb not null default '{}', -- {kernelId, ramdiskId, kernelArgs} or empty: boots from its disk
  key_name text,
  key_data text,                    -- public key
  user_data text,
  metadata jsonb not null default '{}',
  tags text[] not null default '{}',
  config jsonb not null default '{}',
  paused_because text,              -- 'space' while a full pool holds it
  fault jsonb,
  locked boolean not null default false,
  locked_reason text,
  launched_at timestamptz,
  terminated_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  deleted_at timestamptz
);
create index instances_by_project on instances (project_id) where deleted_at is null;

create table attachments (
  id uuid primary key,
  instance_id uuid not null references instances,
  volume_id uuid not null references volumes,
  device text not null, -- vda, vdb, …
  boot_index int,
  delete_on_termination boolean not null default false,
  tag text,
  attached_at timestamptz not null default now(),
  unique (volume_id),              -- one volume, one instance
  unique (instance_id, device)
);

create table networks (
  id uuid primary key,
  name text not null unique,
  cidr text not null,
  subnet_id uuid not null,
  gateway text not null,
  created_at timestamptz not null default now()
);
create table ports (
  id uuid primary key,
  network_id uuid not null references networks,
  instance_id uuid references instances,
  project_id text not null,
  mac text not null unique,
  fixed_ip text not null,
  created_at timestamptz not null default now(),
  unique (network_id, fixed_ip)
);

-- Operations -----------------------------------------------------------------------------------------------------------------
create table operations (
  id uuid primary key,
  kind text not null,
  version int not null,
  state text not null check (state in ('pending', 'running', 'undoing', 'stuck', 'done', 'undone', 'quarantined')),
  params jsonb not null,
  instance_id uuid,
  project_id text,
  user_id text,
  request_id text not null,
  idempotency_key text,
  request_digest bytea, -- what the key was used for
  preemptible boolean not null default false, -- background work that gives way to a user's request
  cancel_requested boolean not null default false,
  lease_owner text,
  lease_until timestamptz,
  epoch bigint not null default 0,
  run_at timestamptz not null default now(), -- not to be claimed before (back-off)
  attempts int not null default 0,
  problem jsonb,
  result jsonb,
  warnings jsonb not null default '[]',
  created_at timestamptz not null default now(),
  started_at timestamptz,
  ended_at timestamptz
);
create index operations_open on operations (run_at) where state in ('pending', 'running', 'undoing', 'stuck');
create index operations_by_instance on operations (instance_id, created_at);
create unique index operations_idempotency on operations (project_id, user_id, idempotency_key) nulls not distinct
  where idempotency_key is not null;

-- The journal: `started` before an effect, `done` after it.
create table operation_steps (
  operation_id uuid not null references operations on delete cascade,
  step text not null,
  state text not null check (state in ('started', 'done', 'failed', 'undoing', 'undone')),
  attempt int not null default 1,
  output jsonb,
  problem jsonb,
  epoch bigint not null,
  started_at timestamptz not null default clock_timestamp(),
  ended_at timestamptz,
  primary key (operation_id, step)
);
create table operation_events (
  seq bigint generated always as identity primary key,
  operation_id uuid not null references operations on delete cascade,
  at timestamptz not null default clock_timestamp(),
  type text not null,
  data jsonb not null default '{}'
);
create index operation_events_by_operation on operation_events (operation_id, seq);

create table locks (
  resource text not null,
  operation_id uuid not null references operations,
  mode text not null check (mode in ('shared', 'exclusive')),
  primary key (resource, operation_id)
);
create unique index locks_exclusive on locks (resource) where mode = 'exclusive';
create index locks_by_operation on locks (operation_id);

create table audit_log (
  seq bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  request_id text not null,
  user_id text,
  project_id text,
  action text not null,   -- policy name or route
  target text,
  outcome text not null,  -- 'accepted' or a refusal's code
  operation_id uuid
);
