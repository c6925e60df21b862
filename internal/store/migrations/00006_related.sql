-- +goose Up

-- Alerts that fire again soon after the end extend their incident by an episode:
-- a row with the id of the first and a number, and a flow of its own.
ALTER TABLE incidents ADD COLUMN first TEXT NOT NULL DEFAULT '';
ALTER TABLE incidents ADD COLUMN episode INTEGER NOT NULL DEFAULT 1;
UPDATE incidents SET first = id;
CREATE UNIQUE INDEX incidents_episodes ON incidents (first, episode);

-- What others that come at about the same time may share with an incident; empty until it was diagnosed.
ALTER TABLE incidents ADD COLUMN cluster TEXT NOT NULL DEFAULT '';
ALTER TABLE incidents ADD COLUMN node TEXT NOT NULL DEFAULT '';
ALTER TABLE incidents ADD COLUMN cause TEXT NOT NULL DEFAULT '';
CREATE INDEX incidents_node ON incidents (node, received_at) WHERE node <> '';
CREATE INDEX incidents_cause ON incidents (cause, received_at) WHERE cause <> '';

-- The incident that it is part of, by its first episode; what the two share ('node'
-- or 'cause'), which one, and the how manyth part it is.
ALTER TABLE incidents ADD COLUMN parent TEXT NOT NULL DEFAULT '';
ALTER TABLE incidents ADD COLUMN shares TEXT NOT NULL DEFAULT '';
ALTER TABLE incidents ADD COLUMN shared TEXT NOT NULL DEFAULT '';
ALTER TABLE incidents ADD COLUMN part INTEGER NOT NULL DEFAULT 0;
CREATE INDEX incidents_parent ON incidents (parent) WHERE parent <> '';

-- Which replica is about to post the message of an incident, and since when.
ALTER TABLE slack_messages ADD COLUMN holder TEXT NOT NULL DEFAULT '';
ALTER TABLE slack_messages ADD COLUMN held_at INTEGER NOT NULL DEFAULT 0;
-- Of what a person is needed for, people heard last.
ALTER TABLE slack_messages ADD COLUMN notified TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE slack_messages DROP COLUMN notified;
ALTER TABLE slack_messages DROP COLUMN held_at;
ALTER TABLE slack_messages DROP COLUMN holder;
DROP INDEX incidents_parent;
ALTER TABLE incidents DROP COLUMN part;
ALTER TABLE incidents DROP COLUMN shared;
ALTER TABLE incidents DROP COLUMN shares;
ALTER TABLE incidents DROP COLUMN parent;
DROP INDEX incidents_cause;
DROP INDEX incidents_node;
ALTER TABLE incidents DROP COLUMN cause;
ALTER TABLE incidents DROP COLUMN node;
ALTER TABLE incidents DROP COLUMN cluster;
DROP INDEX incidents_episodes;
ALTER TABLE incidents DROP COLUMN episode;
ALTER TABLE incidents DROP COLUMN first;
