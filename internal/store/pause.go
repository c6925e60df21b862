package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Pause is that somebody stopped kmend: it measures and plans, and changes nothing.
type Pause struct {
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// Pause commits a pause; one that is there already stays as it is.
func (s *Store) Pause(ctx context.Context, p Pause) error {
	err := s.write.do(ctx, func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, `INSERT INTO pause (id, by, reason, at) VALUES (1, ?, ?, ?) ON CONFLICT (id) DO NOTHING`, p.By, p.Reason, p.At.UnixNano())
		return err
	})
	if err != nil {
		return fmt.Errorf("pausing: %w", err)
	}
	return nil
}

// Resume commits the end of a pause, if there is one.
func (s *Store) Resume(ctx context.Context) error {
	err := s.write.do(ctx, func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, `DELETE FROM pause`)
		return err
	})
	if err != nil {
		return fmt.Errorf("resuming: %w", err)
	}
	return nil
}

// Paused is the pause that was committed; ok is false when there is none.
func (s *Store) Paused(ctx context.Context) (p Pause, ok bool, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		var when int64
		err := tx.QueryRowContext(ctx, `SELECT by, reason, at FROM pause`).Scan(&p.By, &p.Reason, &when)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		p.At, ok = at(when), err == nil
		return err
	})
	if err != nil {
		return Pause{}, false, fmt.Errorf("reading whether kmend is paused: %w", err)
	}
	return p, ok, nil
}
