-- +goose Up

-- An incident that a delivery closed before its flow had begun still needs one: it
-- tells of the end. Those of before this are told.
UPDATE incidents SET owned_at = closed_at WHERE owned_at = 0 AND closed_at IS NOT NULL;
CREATE INDEX incidents_never_begun ON incidents (id) WHERE owned_at = 0;

-- +goose Down
DROP INDEX incidents_never_begun;
