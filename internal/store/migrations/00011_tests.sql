-- +goose Up

-- 0: an alert. 1: a test alert (kmend test-alert), 2: one that people are told of. What
-- may change something the database itself keeps from a test alert's incident.
ALTER TABLE incidents ADD COLUMN test INTEGER NOT NULL DEFAULT 0
    CHECK (test = 0 OR phase NOT IN ('awaiting_approval', 'executing', 'verifying'));

-- +goose Down
ALTER TABLE incidents DROP COLUMN test;
