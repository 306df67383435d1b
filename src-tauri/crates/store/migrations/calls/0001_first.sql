CREATE TABLE calls (
    id        INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    at        INTEGER NOT NULL,
    number    INTEGER NOT NULL, -- within the boot that saw it
    server    TEXT,
    client    TEXT NOT NULL,
    outcome   TEXT NOT NULL,
    record    TEXT NOT NULL, -- JSON of all of the record
    arguments TEXT,
    result    TEXT
) STRICT;

CREATE INDEX calls_at ON calls (at, number);
CREATE INDEX calls_server ON calls (server, at) WHERE server IS NOT NULL;
