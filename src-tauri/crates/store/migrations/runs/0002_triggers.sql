-- What started a run, taken once: a trigger that fired and was not noted, because the engine was killed, finds its run.
ALTER TABLE runs ADD COLUMN key TEXT;

CREATE UNIQUE INDEX runs_key ON runs (key) WHERE key IS NOT NULL;

-- Where each trigger of a workflow stands.
CREATE TABLE triggers (
    workflow TEXT NOT NULL,
    name     TEXT NOT NULL,
    kept     TEXT NOT NULL, -- JSON
    PRIMARY KEY (workflow, name)
) STRICT, WITHOUT ROWID;

-- Firings that wait for runs to end, in their order. One is gone in the commit that keeps its run.
CREATE TABLE firings (
    number INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    key    TEXT NOT NULL UNIQUE,
    firing TEXT NOT NULL -- JSON
) STRICT;
