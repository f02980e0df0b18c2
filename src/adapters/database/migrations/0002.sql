-- A pool whose host has obeyed later operations than this database knows: the database is an older copy, or a new one. Until
-- `comeback recover --from-pools` has read the pool, nothing may be done to its volumes and layers.
alter table pools add column ahead_since timestamptz;
