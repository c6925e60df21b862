-- +goose Up

-- The processes that run incidents. token is one life of one; beats counts what it
-- was heard of, so that nobody compares clocks; gone: it stopped in good order.
CREATE TABLE replicas (
    id    TEXT PRIMARY KEY,
    token TEXT NOT NULL,
    since INTEGER NOT NULL,
    beat  INTEGER NOT NULL,
    beats INTEGER NOT NULL DEFAULT 0,
    gone  INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Whose an incident is: the token of the replica that runs it, empty when none does.
ALTER TABLE incidents ADD COLUMN owner TEXT NOT NULL DEFAULT '';
-- When the owner took it, and when the one before it was last known to be up.
ALTER TABLE incidents ADD COLUMN owned_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE incidents ADD COLUMN owner_seen INTEGER NOT NULL DEFAULT 0;
CREATE INDEX incidents_owner ON incidents (owner, closed_at);

-- What was open belonged to the one process that there was. One that did not live to
-- its first heartbeat leaves it to anybody: an owner that is no replica keeps it for ever.
INSERT INTO replicas (id, token, since, beat) SELECT 'kmend', 'kmend/before', at, at FROM heartbeat;
UPDATE incidents SET owner = 'kmend/before' WHERE closed_at IS NULL AND EXISTS (SELECT 1 FROM heartbeat);
DROP TABLE heartbeat;

-- +goose Down
CREATE TABLE heartbeat (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;
DROP INDEX incidents_owner;
ALTER TABLE incidents DROP COLUMN owner_seen;
ALTER TABLE incidents DROP COLUMN owned_at;
ALTER TABLE incidents DROP COLUMN owner;
DROP TABLE replicas;
