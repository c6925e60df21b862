-- +goose Up

-- Which incidents got as far as acting: what the guards count.
CREATE INDEX timeline_acted ON timeline (incident) WHERE key = 'intent/0';

-- Who stopped kmend: one row, or none.
CREATE TABLE pause (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    by     TEXT NOT NULL,
    reason TEXT NOT NULL,
    at     INTEGER NOT NULL
) STRICT;

-- +goose Down
DROP TABLE pause;
DROP INDEX timeline_acted;
