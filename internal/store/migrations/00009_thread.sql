-- +goose Up

-- How much of the thread of a message is there: the episode, how many lines of its timeline,
-- how many pictures. Empty: none.
ALTER TABLE slack_messages ADD COLUMN told TEXT NOT NULL DEFAULT '';
-- The route by which kmend paged somebody: where that ends.
ALTER TABLE pagerduty ADD COLUMN route TEXT NOT NULL DEFAULT '';

-- Which incidents ended long ago.
CREATE INDEX incidents_closed ON incidents (closed_at) WHERE closed_at IS NOT NULL;

-- +goose Down
DROP INDEX incidents_closed;
ALTER TABLE pagerduty DROP COLUMN route;
ALTER TABLE slack_messages DROP COLUMN told;
