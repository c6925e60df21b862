package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Message is the message in Slack about an incident, whatever its episodes.
type Message struct {
	Incident string // its first episode
	Channel  string // its id
	TS       string // names the message in its channel; empty until it was posted
	Shown    string // digest of what it says
	Final    bool   // nothing of it will change any more
	Notified string // of what a person is needed for, people heard last
	Told     string // how much of its thread is there; KeepMessage leaves it, TellThread sets it
}

// Message reads the message of an incident; the zero Message when there is none.
func (s *Store) Message(ctx context.Context, id string) (m Message, err error) {
	var final int64
	err = s.readers.QueryRowContext(ctx, `SELECT incident, channel, ts, shown, final, notified, told FROM slack_messages WHERE incident = ?`, id).
		Scan(&m.Incident, &m.Channel, &m.TS, &m.Shown, &final, &m.Notified, &m.Told)
	if errors.Is(err, sql.ErrNoRows) {
		return Message{}, nil
	}
	if err != nil {
		return Message{}, fmt.Errorf("reading the message of incident %q: %w", id, err)
	}
	m.Final = final != 0
	return m, nil
}

// reservedFor is how long a replica has to post what it reserved.
const reservedFor = 2 * time.Minute

// ReserveMessage reports whether this replica is the one to post the message of an
// incident that has none: none is about to, it said so before, or the one who did
// has not posted it for two minutes.
func (s *Store) ReserveMessage(ctx context.Context, id string) (mine bool, err error) {
	replica, _ := s.lease.own()
	if s.Shared() && replica == "" {
		return false, nil // it may be taken for any other that did not join yet
	}
	now := time.Now()
	err = s.write.do(ctx, func(ctx context.Context, c *sql.Conn) error {
		r, err := c.ExecContext(ctx, `INSERT INTO slack_messages (incident, channel, ts, shown, final, holder, held_at) VALUES (?, '', '', '', 0, ?, ?)
			ON CONFLICT (incident) DO UPDATE SET holder = excluded.holder, held_at = excluded.held_at
			WHERE slack_messages.ts = '' AND (slack_messages.holder = excluded.holder OR slack_messages.held_at < ?)`,
			id, replica, now.UnixNano(), now.Add(-reservedFor).UnixNano())
		if err != nil {
			return err
		}
		n, err := r.RowsAffected()
		mine = n > 0
		return err
	})
	if err != nil {
		return false, fmt.Errorf("reserving the message of incident %q: %w", id, err)
	}
	return mine, nil
}

// KeepMessage commits the message of an incident in place of the one before.
func (s *Store) KeepMessage(ctx context.Context, m Message) error {
	final := 0
	if m.Final {
		final = 1
	}
	err := s.write.do(ctx, func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, `INSERT INTO slack_messages (incident, channel, ts, shown, final, notified) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (incident) DO UPDATE SET channel = excluded.channel, ts = excluded.ts, shown = excluded.shown, final = excluded.final, notified = excluded.notified`,
			m.Incident, m.Channel, m.TS, m.Shown, final, m.Notified)
		return err
	})
	if err != nil {
		return fmt.Errorf("keeping the message of incident %q: %w", m.Incident, err)
	}
	return nil
}

// TellThread says that of the thread of a message there is now to, where there was from;
// false: there was something else, for another replica writes it too.
func (s *Store) TellThread(ctx context.Context, id, from, to string) (mine bool, err error) {
	err = s.write.do(ctx, func(ctx context.Context, c *sql.Conn) error {
		r, err := c.ExecContext(ctx, `UPDATE slack_messages SET told = ? WHERE incident = ? AND told = ?`, to, id, from)
		if err != nil {
			return err
		}
		n, err := r.RowsAffected()
		mine = n > 0
		return err
	})
	if err != nil {
		return false, fmt.Errorf("keeping what the thread of incident %q says: %w", id, err)
	}
	return mine, nil
}

// untold says that the message of an incident has to change once more.
func (d delivery) untold(first string) error {
	_, err := d.c.ExecContext(d.ctx, `UPDATE slack_messages SET final = 0 WHERE incident = ?`, first)
	return err
}

// Untold are the incidents, by their first episode, whose message does not say the end yet: those that
// are open, those that closed after since, and those that have a message that is
// not final. Oldest first.
func (s *Store) Untold(ctx context.Context, since time.Time) (ids []string, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		ids, err = column(ctx, tx, `SELECT DISTINCT i.first FROM incidents i LEFT JOIN slack_messages m ON m.incident = i.first
			WHERE (m.incident IS NULL AND (i.closed_at IS NULL OR i.closed_at > ?)) OR m.final = 0 ORDER BY i.first`, since.UnixNano())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing what is untold: %w", err)
	}
	return ids, nil
}
