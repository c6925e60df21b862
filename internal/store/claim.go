package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Claim takes things (target keys) for an incident, all of them or none, until
// it is closed: one remediation per target at a time. holder is the incident that
// has one of them, "" when all are id's now. A closed incident gets ErrClosed.
func (s *Store) Claim(ctx context.Context, id string, things []string) (holder string, err error) {
	err = s.write.do(ctx, func(ctx context.Context, c *sql.Conn) error {
		holder = ""
		if err := s.mine(ctx, c, id); err != nil {
			return err
		}
		var open bool
		err := c.QueryRowContext(ctx, `SELECT closed_at IS NULL FROM incidents WHERE id = ?`, id).Scan(&open)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return ErrNotFound
		case err != nil:
			return err
		case !open:
			return ErrClosed
		}
		for _, thing := range things {
			err := c.QueryRowContext(ctx, `SELECT incident FROM claims WHERE thing = ? AND incident <> ?`, thing, id).Scan(&holder)
			if err == nil {
				return nil
			}
			if !errors.Is(err, sql.ErrNoRows) {
				return err
			}
		}
		for _, thing := range things {
			if _, err := c.ExecContext(ctx, `INSERT INTO claims (thing, incident) VALUES (?, ?) ON CONFLICT DO NOTHING`, thing, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("claiming the target of incident %s: %w", id, err)
	}
	return holder, nil
}

// Alone waits until nobody else is between Alone and its release: what is decided
// in between by what the store says is written before anybody else decides, in
// this process or in another replica.
func (s *Store) Alone(ctx context.Context) (release func(), err error) {
	select {
	case s.alone <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	among, err := s.aloneAmongReplicas(ctx)
	if err != nil {
		<-s.alone
		return nil, fmt.Errorf("waiting to be alone: %w", err)
	}
	return func() { among(); <-s.alone }, nil
}
