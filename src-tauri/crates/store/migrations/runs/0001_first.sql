-- Definitions by the hash of their text: most runs share one.
CREATE TABLE definitions (
    hash TEXT PRIMARY KEY NOT NULL,
    text TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
    number     INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    at         INTEGER NOT NULL,
    workflow   TEXT NOT NULL,
    definition TEXT NOT NULL REFERENCES definitions (hash),
    facts      TEXT NOT NULL, -- JSON of what was known before it began
    open       INTEGER NOT NULL, -- 1 until it has ended
    summary    TEXT NOT NULL -- JSON
) STRICT;

CREATE INDEX runs_workflow ON runs (workflow, number);
CREATE INDEX runs_open ON runs (number) WHERE open = 1;

-- What was decided together is one row: it becomes true together.
CREATE TABLE records (
    run     INTEGER NOT NULL,
    seq     INTEGER NOT NULL, -- place of its first record in the run
    at      INTEGER NOT NULL,
    records TEXT NOT NULL, -- JSON list
    PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;
