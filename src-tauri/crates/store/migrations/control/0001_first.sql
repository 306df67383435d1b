-- What an operator wants that differs from what the file declares.
CREATE TABLE overrides (
    server   TEXT PRIMARY KEY NOT NULL,
    running  INTEGER,
    replicas INTEGER,
    by       TEXT NOT NULL,
    at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE revisions (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    by      TEXT NOT NULL,
    reason  TEXT NOT NULL,
    changes TEXT NOT NULL, -- JSON array of sentences
    diff    TEXT NOT NULL,
    hash    TEXT NOT NULL,
    text    TEXT NOT NULL
) STRICT;

CREATE TABLE agents (
    id    TEXT PRIMARY KEY NOT NULL,
    agent TEXT NOT NULL -- JSON
) STRICT, WITHOUT ROWID;

-- What was learned about a server and saves a question at its next start.
CREATE TABLE memories (
    server TEXT PRIMARY KEY NOT NULL,
    era    TEXT,
    tools  TEXT -- JSON of the accepted tool fingerprint
) STRICT, WITHOUT ROWID;

CREATE TABLE ports (
    name TEXT PRIMARY KEY NOT NULL,
    port INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE actions (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL,
    server      TEXT,
    instance    INTEGER,
    actor       TEXT NOT NULL,
    command     TEXT NOT NULL,
    params      TEXT NOT NULL,
    outcome     TEXT NOT NULL,
    ok          INTEGER NOT NULL,
    correlation TEXT
) STRICT;

CREATE INDEX actions_server ON actions (server, id);
CREATE INDEX actions_at ON actions (at);
