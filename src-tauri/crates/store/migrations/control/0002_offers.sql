-- What a server on demand offers: its lists stay while it sleeps, over a restart of the engine too.
ALTER TABLE memories ADD COLUMN offer TEXT; -- JSON, in the gateway's form
