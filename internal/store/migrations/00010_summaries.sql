-- +goose Up

-- What a model was asked to write about an incident in a phase. digest names what it
-- sees; holder is the replica that asks, since held_at, for the how manyth time;
-- result says what came of it, empty until that is known; doc is the summary that
-- is kept, empty where kmend's own counts.
CREATE TABLE summaries (
    incident TEXT NOT NULL REFERENCES incidents (id) ON DELETE CASCADE,
    phase    TEXT NOT NULL,
    digest   TEXT NOT NULL,
    holder   TEXT NOT NULL,
    held_at  INTEGER NOT NULL,
    tries    INTEGER NOT NULL,
    result   TEXT NOT NULL,
    doc      TEXT NOT NULL,
    PRIMARY KEY (incident, phase)
) STRICT;
CREATE INDEX summaries_digest ON summaries (digest);

-- What models took in the last hour: every replica's calls count for one budget.
CREATE TABLE model_calls (
    id     INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    cost   REAL NOT NULL
) STRICT;
CREATE INDEX model_calls_at ON model_calls (at);

-- +goose Down
DROP TABLE model_calls;
DROP TABLE summaries;
