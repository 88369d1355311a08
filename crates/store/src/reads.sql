-- Version 4: what the processes of steps have read.

CREATE TABLE reads (
    snapshot INTEGER PRIMARY KEY REFERENCES snapshots (id) ON DELETE CASCADE,
    paths BLOB NOT NULL             -- the caller's form
);
