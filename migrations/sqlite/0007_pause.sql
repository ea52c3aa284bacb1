-- When a running job was asked to pause. The PostgreSQL twin has the same number and name.

ALTER TABLE jobs ADD COLUMN pause_requested_at integer;
