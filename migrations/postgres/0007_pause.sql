-- When a running job was asked to pause. The SQLite twin has the same number and name.

ALTER TABLE jobs ADD COLUMN pause_requested_at timestamptz;
