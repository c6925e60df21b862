package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/kmend/kmend/incident"
)

// Reserved is who writes the summary of an incident in a phase.
type Reserved string

const (
	ReservedHere      Reserved = "here"      // this replica: nobody else asks a model meanwhile
	ReservedElsewhere Reserved = "elsewhere" // another replica is asking, about this or about the same facts
	ReservedDone      Reserved = "done"      // what came of it is known
)

// summaryTries is how often a model is asked the same: more than once only where
// kmend ended in the middle.
const summaryTries = 2

// Results of summaries that the store knows by itself.
const (
	SummaryCached      = "cached"      // a model wrote it about the same facts of another incident
	SummaryInterrupted = "interrupted" // kmend ended twice while a model was asked
)

// ReserveSummary asks to be the one who has a model write the summary of an incident
// in a phase; digest names what the model sees. A replica that did not keep what came
// of it within the time held is taken for gone. What a model wrote about the same
// facts is taken over, and that is done.
func (s *Store) ReserveSummary(ctx context.Context, id string, phase incident.Phase, digest string, held time.Duration) (r Reserved, err error) {
	replica, _ := s.lease.own()
	if s.Shared() && replica == "" {
		return ReservedElsewhere, nil // it may be taken for any other that did not join yet
	}
	now := time.Now()
	err = s.write.do(ctx, func(ctx context.Context, c *sql.Conn) error {
		var holder, result string
		var heldAt int64
		var tries int
		err := c.QueryRowContext(ctx, `SELECT holder, held_at, tries, result FROM summaries WHERE incident = ? AND phase = ?`, id, phase).Scan(&holder, &heldAt, &tries, &result)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		late := now.Add(-held).UnixNano()
		switch {
		case result != "":
			r = ReservedDone
			return nil
		case tries > 0 && holder != replica && heldAt > late:
			r = ReservedElsewhere
			return nil
		case tries >= summaryTries:
			r = ReservedDone
			return keepSummary(ctx, c, id, phase, SummaryInterrupted, "")
		}
		var doc string
		err = c.QueryRowContext(ctx, `SELECT doc FROM summaries WHERE digest = ? AND doc <> '' LIMIT 1`, digest).Scan(&doc)
		if err == nil {
			r = ReservedDone
			return keepSummary(ctx, c, id, phase, SummaryCached, doc)
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		var others int
		if err := c.QueryRowContext(ctx, `SELECT count(*) FROM summaries WHERE digest = ? AND result = '' AND holder <> ? AND held_at > ?`, digest, replica, late).Scan(&others); err != nil {
			return err
		}
		if others > 0 {
			r = ReservedElsewhere
			return nil
		}
		r = ReservedHere
		_, err = c.ExecContext(ctx, `INSERT INTO summaries (incident, phase, digest, holder, held_at, tries, result, doc) VALUES (?, ?, ?, ?, ?, 1, '', '')
			ON CONFLICT (incident, phase) DO UPDATE SET digest = excluded.digest, holder = excluded.holder, held_at = excluded.held_at, tries = summaries.tries + 1`,
			id, phase, digest, replica, now.UnixNano())
		return err
	})
	if err != nil {
		return "", fmt.Errorf("reserving the summary of incident %q: %w", id, err)
	}
	return r, nil
}

// KeepSummary commits what came of a summary, unless that is known already; a nil
// one is that kmend's own counts.
// A message in Slack that was final is not any more.
func (s *Store) KeepSummary(ctx context.Context, id string, phase incident.Phase, result string, summary *incident.Summary) error {
	doc := ""
	if summary != nil {
		var err error
		if doc, err = toJSON(summary); err != nil {
			return err
		}
	}
	err := s.write.do(ctx, func(ctx context.Context, c *sql.Conn) error { return keepSummary(ctx, c, id, phase, result, doc) })
	if err != nil {
		return fmt.Errorf("keeping the summary of incident %q: %w", id, err)
	}
	return nil
}

func keepSummary(ctx context.Context, c *sql.Conn, id string, phase incident.Phase, result, doc string) error {
	_, err := c.ExecContext(ctx, `INSERT INTO summaries (incident, phase, digest, holder, held_at, tries, result, doc) VALUES (?, ?, '', '', 0, 0, ?, ?)
		ON CONFLICT (incident, phase) DO UPDATE SET result = excluded.result, doc = excluded.doc WHERE summaries.result = ''`, id, phase, result, doc)
	if err != nil || doc == "" {
		return err
	}
	_, err = c.ExecContext(ctx, `UPDATE slack_messages SET final = 0 WHERE incident = (SELECT first FROM incidents WHERE id = ?)`, id)
	return err
}

// SummaryKnown reports whether it is known what came of a summary.
func (s *Store) SummaryKnown(ctx context.Context, id string, phase incident.Phase) (known bool, err error) {
	err = s.readers.QueryRowContext(ctx, `SELECT count(*) > 0 FROM summaries WHERE incident = ? AND phase = ? AND result <> ''`, id, phase).Scan(&known)
	if err != nil {
		return false, fmt.Errorf("looking for the summary of incident %q: %w", id, err)
	}
	return known, nil
}

// Unsummarized are the incidents that wait for a person, or ended after since, and of
// whose summary nothing is known. Oldest first.
func (s *Store) Unsummarized(ctx context.Context, since time.Time) (ids []string, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		ids, err = column(ctx, tx, `SELECT i.id FROM incidents i WHERE (i.phase = ? OR i.closed_at > ?)
			AND NOT EXISTS (SELECT 1 FROM summaries s WHERE s.incident = i.id AND s.phase = i.phase AND s.result <> '') ORDER BY i.id`,
			incident.AwaitingApproval, since.UnixNano())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing what has no summary: %w", err)
	}
	return ids, nil
}

// loadSummary reads the summary that a model wrote of the incident as it is: while it
// acts, the one of when a person was asked.
func loadSummary(ctx context.Context, tx *sql.Tx, p *Progress) error {
	phase := p.Phase
	if phase == incident.Executing || phase == incident.Verifying {
		phase = incident.AwaitingApproval
	}
	var doc string
	err := tx.QueryRowContext(ctx, `SELECT doc FROM summaries WHERE incident = ? AND phase = ?`, p.ID, phase).Scan(&doc)
	if errors.Is(err, sql.ErrNoRows) || err == nil && doc == "" {
		return nil
	}
	if err != nil {
		return err
	}
	p.Summary = &incident.Summary{}
	return fromJSON(doc, p.Summary)
}
