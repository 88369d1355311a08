-- Version 6: layers whose files are somewhere else until somebody needs them.

ALTER TABLE snapshots ADD COLUMN absent INTEGER NOT NULL DEFAULT 0; -- 1: its directory is empty yet
CREATE INDEX snapshots_diff_id ON snapshots (diff_id);

CREATE TABLE layer_sources (
    diff_id BLOB NOT NULL,
    digest BLOB NOT NULL,           -- of the blob there
    size INTEGER NOT NULL,
    media_type TEXT NOT NULL,
    place TEXT NOT NULL,            -- the caller's form
    seen INTEGER NOT NULL,
    PRIMARY KEY (diff_id, digest, place)
) WITHOUT ROWID;
