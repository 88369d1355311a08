-- Version 7: how far the hash of a layer was after what several layers begin with.

CREATE TABLE beginnings (
    beginning BLOB PRIMARY KEY,
    state BLOB NOT NULL,            -- the caller's form
    snapshot INTEGER NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX beginnings_snapshot ON beginnings (snapshot);
