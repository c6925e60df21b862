-- +goose Up

-- One row an incident. Times are nanoseconds since 1970, documents are JSON.
CREATE TABLE incidents (
    id           TEXT PRIMARY KEY,
    dedup_key    TEXT NOT NULL,
    phase        TEXT NOT NULL,
    outcome      TEXT NOT NULL DEFAULT '',
    reason       TEXT NOT NULL DEFAULT '',
    -- Why the alerts name nothing that can be measured; empty when they do.
    no_target    TEXT NOT NULL DEFAULT '',
    deliveries   INTEGER NOT NULL,
    received_at  INTEGER NOT NULL,
    closed_at    INTEGER,
    target       TEXT NOT NULL,
    alerts       TEXT NOT NULL,
    diagnosis    TEXT,
    plan         TEXT,
    decisions    TEXT,
    verification TEXT,
    -- Until when a person may answer; null unless it was asked.
    answer_by    INTEGER
) STRICT;

-- One open incident a dedup key, whatever the senders do.
CREATE UNIQUE INDEX incidents_open ON incidents (dedup_key) WHERE closed_at IS NULL;
CREATE INDEX incidents_dedup ON incidents (dedup_key, received_at);
CREATE INDEX incidents_phase ON incidents (phase, id);

-- Every transition, written before it is acted on. The key makes writing it again do nothing.
CREATE TABLE timeline (
    incident TEXT NOT NULL REFERENCES incidents (id) ON DELETE CASCADE,
    seq      INTEGER NOT NULL,
    key      TEXT NOT NULL,
    at       INTEGER NOT NULL,
    phase    TEXT NOT NULL,
    kind     TEXT NOT NULL,
    message  TEXT NOT NULL,
    fields   TEXT,
    PRIMARY KEY (incident, seq),
    UNIQUE (incident, key)
) STRICT;

-- Every firing that was ever part of an incident: what tells a repeated or late
-- delivery of an old firing from a new one.
CREATE TABLE firings (
    dedup_key   TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    starts_at   INTEGER NOT NULL,
    incident    TEXT NOT NULL REFERENCES incidents (id) ON DELETE CASCADE,
    PRIMARY KEY (dedup_key, fingerprint, starts_at)
) STRICT, WITHOUT ROWID;
CREATE INDEX firings_incident ON firings (incident);

-- A person's answer: one an incident, so it is used once.
CREATE TABLE approvals (
    incident TEXT PRIMARY KEY REFERENCES incidents (id) ON DELETE CASCADE,
    plan     TEXT NOT NULL,
    approve  INTEGER NOT NULL,
    by       TEXT NOT NULL,
    at       INTEGER NOT NULL
) STRICT;

-- What was done, in the order in which it was recorded. act is 'apply' or 'undo'.
CREATE TABLE executions (
    id       INTEGER PRIMARY KEY,
    incident TEXT NOT NULL REFERENCES incidents (id) ON DELETE CASCADE,
    step     INTEGER NOT NULL,
    act      TEXT NOT NULL,
    doc      TEXT NOT NULL,
    UNIQUE (incident, act, step)
) STRICT;

-- Who may change a thing: one incident at a time, until it is closed.
CREATE TABLE claims (
    thing    TEXT PRIMARY KEY,
    incident TEXT NOT NULL REFERENCES incidents (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX claims_incident ON claims (incident);

-- +goose Down
DROP TABLE claims;
DROP TABLE executions;
DROP TABLE approvals;
DROP TABLE firings;
DROP TABLE timeline;
DROP TABLE incidents;
