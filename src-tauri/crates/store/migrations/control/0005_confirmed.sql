-- Definitions of workflows whose commands an operator has confirmed, by the hash of their text.
CREATE TABLE confirmed (
    hash TEXT PRIMARY KEY,
    workflow TEXT NOT NULL,
    by TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
