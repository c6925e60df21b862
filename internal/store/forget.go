package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Old are the ids of incidents that ended before a time and may be forgotten, oldest
// first: all episodes of at most limit incidents. One stays as long as one of
// its episodes, what it is a part of or a part of it is open or ended later, and
// as long as its timeline goes on.
func (s *Store) Old(ctx context.Context, before time.Time, limit int) (ids []string, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		ids, err = column(ctx, tx, `SELECT id FROM incidents WHERE first IN (
			SELECT g.first FROM incidents g WHERE g.closed_at < ?1
			AND NOT EXISTS (SELECT 1 FROM incidents e WHERE e.first = g.first AND (e.closed_at IS NULL OR e.closed_at >= ?1
				OR EXISTS (SELECT 1 FROM timeline t WHERE t.incident = e.id AND t.at >= ?1)))
			AND NOT EXISTS (SELECT 1 FROM incidents p WHERE p.parent = g.first AND (p.closed_at IS NULL OR p.closed_at >= ?1))
			AND NOT EXISTS (SELECT 1 FROM incidents e JOIN incidents u ON u.first = e.parent WHERE e.first = g.first AND (u.closed_at IS NULL OR u.closed_at >= ?1))
			GROUP BY g.first ORDER BY min(g.closed_at), g.first LIMIT ?2) ORDER BY id`, before.UnixNano(), limit)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing incidents that ended before %s: %w", before.UTC().Format(time.RFC3339), err)
	}
	return ids, nil
}

// Forget deletes incidents with all that belongs to them: timeline, answers,
// executions, firings, what Slack and PagerDuty were told. One that has not ended before
// that time stays.
func (s *Store) Forget(ctx context.Context, before time.Time, ids []string) (forgotten int, err error) {
	err = s.write.do(ctx, func(ctx context.Context, c *sql.Conn) error {
		forgotten = 0
		for _, id := range ids {
			r, err := c.ExecContext(ctx, `DELETE FROM incidents WHERE id = ? AND closed_at < ?`, id, before.UnixNano())
			if err != nil {
				return err
			}
			n, err := r.RowsAffected()
			if err != nil {
				return err
			}
			forgotten += int(n)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("forgetting %d incidents: %w", len(ids), err)
	}
	return forgotten, nil
}
