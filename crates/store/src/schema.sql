-- Version 1. Digests are 32 bytes, snapshot ids 64-bit integers, times nanoseconds since 1970.
--
-- "synced" is 0 while a power cut could still tear what the row names; see epoch.rs.

CREATE TABLE blobs (
    digest BLOB PRIMARY KEY,
    size INTEGER NOT NULL,
    synced INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX blobs_unsynced ON blobs (digest) WHERE synced = 0;

CREATE TABLE snapshots (
    id INTEGER PRIMARY KEY,
    parent INTEGER REFERENCES snapshots (id),
    container TEXT UNIQUE,          -- the container whose writable layer this is; else committed
    diff_id BLOB,
    diff_size INTEGER,
    content BLOB,
    disk INTEGER,                   -- bytes on disk, once measured
    created INTEGER NOT NULL,
    synced INTEGER NOT NULL
);
CREATE INDEX snapshots_parent ON snapshots (parent);
CREATE INDEX snapshots_unsynced ON snapshots (id) WHERE synced = 0;

CREATE TABLE chains (
    chain BLOB PRIMARY KEY,
    snapshot INTEGER NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX chains_snapshot ON chains (snapshot);

CREATE TABLE layer_blobs (
    diff_id BLOB NOT NULL,
    key TEXT NOT NULL,
    digest BLOB NOT NULL REFERENCES blobs (digest),
    media_type TEXT NOT NULL,
    PRIMARY KEY (diff_id, key)
) WITHOUT ROWID;
CREATE INDEX layer_blobs_digest ON layer_blobs (digest);

CREATE TABLE records (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    definition BLOB NOT NULL UNIQUE,
    op BLOB NOT NULL,
    scope TEXT NOT NULL,
    snapshot INTEGER REFERENCES snapshots (id) ON DELETE CASCADE,
    inputs TEXT NOT NULL,
    fields TEXT NOT NULL,
    log TEXT,
    created INTEGER NOT NULL,
    used INTEGER NOT NULL
);
CREATE INDEX records_op ON records (op);
CREATE INDEX records_scope ON records (scope);
CREATE INDEX records_snapshot ON records (snapshot);

CREATE TABLE images (
    id BLOB PRIMARY KEY REFERENCES blobs (digest),
    manifest BLOB REFERENCES blobs (digest),
    platform TEXT NOT NULL,
    layers BLOB NOT NULL,           -- diff ids, 32 bytes each
    created INTEGER NOT NULL,
    size INTEGER NOT NULL,
    snapshot INTEGER REFERENCES snapshots (id) ON DELETE SET NULL
) WITHOUT ROWID;
CREATE INDEX images_manifest ON images (manifest);
CREATE INDEX images_snapshot ON images (snapshot);

CREATE TABLE tags (
    name TEXT PRIMARY KEY,
    image BLOB NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    created INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX tags_image ON tags (image);

CREATE TABLE repo_digests (
    repo TEXT NOT NULL,
    digest BLOB NOT NULL,
    image BLOB NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    PRIMARY KEY (repo, digest)
) WITHOUT ROWID;
CREATE INDEX repo_digests_image ON repo_digests (image);

CREATE TABLE containers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    created INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE notes (
    bucket TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (bucket, key)
) WITHOUT ROWID;
