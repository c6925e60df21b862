-- +goose Up

-- What PagerDuty was told of an incident. found is the id of its incident, empty
-- until it was found; notes counts those that were written; paged: kmend paged
-- somebody itself; status: what it was set to, acknowledged or resolved; done: there is nothing more to tell.
CREATE TABLE pagerduty (
    incident TEXT PRIMARY KEY REFERENCES incidents (id) ON DELETE CASCADE,
    found    TEXT NOT NULL,
    notes    INTEGER NOT NULL,
    paged    INTEGER NOT NULL,
    status   TEXT NOT NULL,
    done     INTEGER NOT NULL
) STRICT;

-- +goose Down
DROP TABLE pagerduty;
