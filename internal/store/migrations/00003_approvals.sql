-- +goose Up

-- Answers of several persons: a plan may need more than one yes. person_name and
-- slack_user are what is known of who answered, empty where it is not.
CREATE TABLE answers (
    incident    TEXT NOT NULL REFERENCES incidents (id) ON DELETE CASCADE,
    number      BIGINT NOT NULL,
    plan        TEXT NOT NULL,
    approve     BIGINT NOT NULL,
    answered_by TEXT NOT NULL,
    person_name TEXT NOT NULL,
    slack_user  TEXT NOT NULL,
    at          BIGINT NOT NULL,
    PRIMARY KEY (incident, number)
);
INSERT INTO answers (incident, number, plan, approve, answered_by, person_name, slack_user, at)
    SELECT incident, 1, plan, approve, by, by, '', at FROM approvals;
DROP TABLE approvals;

-- The message in Slack about an incident, so that it is edited after a restart
-- too. ts names it there, '' until it was posted; shown is the digest of what it
-- says; final is 1 when nothing will change any more.
CREATE TABLE slack_messages (
    incident TEXT PRIMARY KEY REFERENCES incidents (id) ON DELETE CASCADE,
    channel  TEXT NOT NULL,
    ts       TEXT NOT NULL,
    shown    TEXT NOT NULL,
    final    BIGINT NOT NULL
);

-- +goose Down
DROP TABLE slack_messages;
CREATE TABLE approvals (
    incident TEXT PRIMARY KEY REFERENCES incidents (id) ON DELETE CASCADE,
    plan     TEXT NOT NULL,
    approve  BIGINT NOT NULL,
    by       TEXT NOT NULL,
    at       BIGINT NOT NULL
);
INSERT INTO approvals (incident, plan, approve, by, at)
    SELECT a.incident, a.plan, a.approve, a.answered_by, a.at FROM answers a
    WHERE a.number = (SELECT max(b.number) FROM answers b WHERE b.incident = a.incident);
DROP TABLE answers;
