-- A pool that runs short is warned of long before it is full. Null: there is room.
alter table pools add column low_since timestamptz;
