package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Sent is what PagerDuty was told of an incident.
type Sent struct {
	Incident string
	Found    string // the id of PagerDuty's incident; empty until it was found
	Notes    int    // written
	Paged    bool   // kmend paged somebody itself
	Status   string // what kmend set PagerDuty's incident to: acknowledged, resolved, or empty
	Done     bool   // there is nothing more to tell
	Route    string // with Paged: the route by which
}

// Sent reads what PagerDuty was told; the zero Sent when it was told nothing.
func (s *Store) Sent(ctx context.Context, id string) (v Sent, err error) {
	err = s.readers.QueryRowContext(ctx, `SELECT incident, found, notes, paged <> 0, status, done <> 0, route FROM pagerduty WHERE incident = ?`, id).
		Scan(&v.Incident, &v.Found, &v.Notes, &v.Paged, &v.Status, &v.Done, &v.Route)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return Sent{}, fmt.Errorf("reading what PagerDuty was told of incident %q: %w", id, err)
	}
	return v, nil
}

// KeepSent commits what PagerDuty was told, in place of what was kept before.
func (s *Store) KeepSent(ctx context.Context, v Sent) error {
	number := map[bool]int{true: 1}
	err := s.write.do(ctx, func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, `INSERT INTO pagerduty (incident, found, notes, paged, status, done, route) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (incident) DO UPDATE SET found = excluded.found, notes = excluded.notes, paged = excluded.paged, status = excluded.status, done = excluded.done, route = excluded.route`,
			v.Incident, v.Found, v.Notes, number[v.Paged], v.Status, number[v.Done], v.Route)
		return err
	})
	if err != nil {
		return fmt.Errorf("keeping what PagerDuty was told of incident %q: %w", v.Incident, err)
	}
	return nil
}

// Unsent are the incidents that PagerDuty may have to be told of: those that are
// open, those that closed after since, and those that it was not told all of. Oldest first.
func (s *Store) Unsent(ctx context.Context, since time.Time) (ids []string, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		ids, err = column(ctx, tx, `SELECT i.id FROM incidents i LEFT JOIN pagerduty p ON p.incident = i.id
			WHERE (p.incident IS NULL AND (i.closed_at IS NULL OR i.closed_at > ?)) OR p.done = 0 ORDER BY i.id`, since.UnixNano())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing what PagerDuty was not told: %w", err)
	}
	return ids, nil
}

// Others counts the other incidents of the group of an incident, received since a
// time, that are open, or whose last episode ended and is not fixed or superseded.
func (s *Store) Others(ctx context.Context, id string, since time.Time) (n int, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		var key, first string
		if err := tx.QueryRowContext(ctx, `SELECT dedup_key, first FROM incidents WHERE id = ?`, id).Scan(&key, &first); err != nil {
			return err
		}
		group, _, _ := strings.Cut(key, "\n")
		group += "\n"
		return tx.QueryRowContext(ctx, `SELECT count(DISTINCT first) FROM incidents i WHERE received_at >= ?1 AND first <> ?2
			AND substr(dedup_key, 1, ?3) = ?4 AND (closed_at IS NULL OR outcome NOT IN ('fixed', 'superseded'))
			AND NOT EXISTS (SELECT 1 FROM incidents j WHERE j.first = i.first AND j.episode > i.episode)`,
			since.UnixNano(), first, utf8.RuneCountInString(group), group).Scan(&n)
	})
	if err != nil {
		return 0, fmt.Errorf("counting the other incidents of the group of incident %q: %w", id, err)
	}
	return n, nil
}
