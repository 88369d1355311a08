-- Version 2: steps of builds can be looked into, and logs are found by the step.

ALTER TABLE records DROP COLUMN log;

CREATE TABLE steps (
    id BLOB PRIMARY KEY,            -- definition key
    name TEXT NOT NULL,
    snapshot INTEGER NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
    config TEXT NOT NULL,
    failed INTEGER NOT NULL,        -- keeps its snapshot, which no record does
    created INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX steps_snapshot ON steps (snapshot);
CREATE INDEX steps_failed ON steps (created) WHERE failed;
