package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Beat commits that kmend was up at now.
func (s *Store) Beat(ctx context.Context, now time.Time) error {
	err := s.write.do(ctx, func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, `INSERT INTO heartbeat (id, at) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET at = excluded.at`, now.UnixNano())
		return err
	})
	if err != nil {
		return fmt.Errorf("writing the heartbeat: %w", err)
	}
	return nil
}

// LastBeat is the time of the last Beat, whichever process it was of; zero when
// there was none.
func (s *Store) LastBeat(ctx context.Context) (time.Time, error) {
	var ns sql.NullInt64
	err := s.read(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `SELECT at FROM heartbeat`).Scan(&ns)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("reading the heartbeat: %w", err)
	}
	return atNull(ns), nil
}
