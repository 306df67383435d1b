CREATE TABLE events (
    seq         INTEGER PRIMARY KEY NOT NULL,
    at          INTEGER NOT NULL,
    server      TEXT,
    instance    INTEGER,
    kind        TEXT NOT NULL,
    correlation TEXT,
    what        TEXT NOT NULL -- JSON of what happened, `kind` included
) STRICT;

CREATE INDEX events_server ON events (server, seq) WHERE server IS NOT NULL;
CREATE INDEX events_kind ON events (kind, seq);
