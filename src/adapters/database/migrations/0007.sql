-- The last machine that had the volume open was shut down by its guest, and nobody has opened it since: its file systems are whole.
alter table volumes add column left_clean boolean not null default false;
