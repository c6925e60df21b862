package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Message is the message in Slack about an incident.
type Message struct {
	Incident string
	Channel  string // its id
	TS       string // names the message in its channel; empty until it was posted
	Shown    string // digest of what it says
	Final    bool   // nothing of it will change any more
}

// Message reads the message of an incident; the zero Message when there is none.
func (s *Store) Message(ctx context.Context, id string) (m Message, err error) {
	var final int64
	err = s.readers.QueryRowContext(ctx, `SELECT incident, channel, ts, shown, final FROM slack_messages WHERE incident = ?`, id).
		Scan(&m.Incident, &m.Channel, &m.TS, &m.Shown, &final)
	if errors.Is(err, sql.ErrNoRows) {
		return Message{}, nil
	}
	if err != nil {
		return Message{}, fmt.Errorf("reading the message of incident %q: %w", id, err)
	}
	m.Final = final != 0
	return m, nil
}

// KeepMessage commits the message of an incident in place of the one before.
func (s *Store) KeepMessage(ctx context.Context, m Message) error {
	final := 0
	if m.Final {
		final = 1
	}
	err := s.write.do(ctx, func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, `INSERT INTO slack_messages (incident, channel, ts, shown, final) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (incident) DO UPDATE SET channel = excluded.channel, ts = excluded.ts, shown = excluded.shown, final = excluded.final`,
			m.Incident, m.Channel, m.TS, m.Shown, final)
		return err
	})
	if err != nil {
		return fmt.Errorf("keeping the message of incident %q: %w", m.Incident, err)
	}
	return nil
}

// Untold are the incidents whose message does not say the end yet: those that
// are open, those that closed after since, and those that have a message that is
// not final. Oldest first.
func (s *Store) Untold(ctx context.Context, since time.Time) (ids []string, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		ids, err = column(ctx, tx, `SELECT i.id FROM incidents i LEFT JOIN slack_messages m ON m.incident = i.id
			WHERE (m.incident IS NULL AND (i.closed_at IS NULL OR i.closed_at > ?)) OR m.final = 0 ORDER BY i.id`, since.UnixNano())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing what is untold: %w", err)
	}
	return ids, nil
}
