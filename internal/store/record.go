package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/kmend/kmend/incident"
)

// Kinds of the timeline lines that deliveries write; the workflow has its own.
const (
	KindReceived      = "received"
	KindJoined        = "joined"
	KindAlertResolved = "alert_resolved"
	KindClosed        = "closed"
)

// Timeline keys that two sides write: the first one wins.
const (
	KeyClosed = "closed" // the end of an incident
	KeyAnswer = "answer" // a person's answer, or that the time for it is over
)

// Act is what an execution did.
type Act string

const (
	Apply Act = "apply"
	Undo  Act = "undo"
)

// Change is one durable step of an incident: a line of the timeline and what is
// saved with it, in one transaction. What is zero stays as it is.
type Change struct {
	Event incident.Event // Seq and Phase are filled in; At, when zero, with now
	To    incident.Phase // checked with Phase.To

	Outcome incident.Outcome // with a closed To
	Reason  string

	Diagnosis    *incident.Diagnosis
	Plan         *incident.Plan
	Decision     *incident.Decision // one more
	Verification *incident.Verification
	// CorrelateWithin, with Diagnosis: the incident becomes a part of the first one
	// that came at most this long before or after it and shares its node or cause.
	CorrelateWithin time.Duration
	AnswerBy        time.Time
	Act             Act // of Execution
	Execution       *incident.Execution
}

// saves reports whether c is more than a line of the timeline.
func (c Change) saves() bool {
	return c.To != "" || c.Outcome != "" || c.Diagnosis != nil || c.Plan != nil || c.Decision != nil ||
		c.Verification != nil || c.Execution != nil || !c.AnswerBy.IsZero()
}

// prepared is a Change with its documents encoded, outside of the one writer.
type prepared struct {
	Change
	diagnosis, plan, verification, execution *string
}

// Record commits c under a key that is unique in the incident. Under a key that
// is there already it changes nothing and fresh is false. A closed incident
// takes lines of the timeline and refuses everything else with ErrClosed; a
// phase that cannot follow is ErrPhase. After Join, an incident that this replica
// does not own is ErrLost, also when the key is there: a nil error says that nobody
// else had the incident when it was committed.
func (s *Store) Record(ctx context.Context, id, key string, c Change) (fresh bool, err error) {
	if c.Event.At.IsZero() {
		c.Event.At = time.Now()
	}
	p := prepared{Change: c}
	for _, doc := range []struct {
		to  **string
		has bool
		v   any
	}{
		{&p.diagnosis, c.Diagnosis != nil, c.Diagnosis},
		{&p.plan, c.Plan != nil, c.Plan},
		{&p.verification, c.Verification != nil, c.Verification},
		{&p.execution, c.Execution != nil, c.Execution},
	} {
		if !doc.has {
			continue
		}
		b, err := json.Marshal(doc.v)
		if err != nil {
			return false, fmt.Errorf("encoding %s of incident %s: %w", key, id, err)
		}
		text := string(b)
		*doc.to = &text
	}
	err = s.write.do(ctx, func(ctx context.Context, conn *sql.Conn) error {
		fresh = false
		if err := s.mine(ctx, conn, id); err != nil {
			return err
		}
		there, err := hasKey(ctx, conn, id, key)
		if err != nil || there {
			return err
		}
		fresh = true
		return apply(ctx, conn, id, key, p)
	})
	if err != nil {
		return false, fmt.Errorf("recording %s of incident %s: %w", key, id, err)
	}
	return fresh, nil
}

// Append commits a line of the timeline under a key; under a key that is there
// already it does nothing.
func (s *Store) Append(ctx context.Context, id, key string, e incident.Event) error {
	_, err := s.Record(ctx, id, key, Change{Event: e})
	return err
}

// Note is Append for a line that is not the flow's: any replica may write it, whoever
// owns the incident.
func (s *Store) Note(ctx context.Context, id, key string, e incident.Event) error {
	if e.At.IsZero() {
		e.At = time.Now()
	}
	err := s.write.do(ctx, func(ctx context.Context, conn *sql.Conn) error {
		there, err := hasKey(ctx, conn, id, key)
		if err != nil || there {
			return err
		}
		return apply(ctx, conn, id, key, prepared{Change: Change{Event: e}})
	})
	if err != nil {
		return fmt.Errorf("noting %s of incident %s: %w", key, id, err)
	}
	return nil
}

func hasKey(ctx context.Context, c *sql.Conn, id, key string) (bool, error) {
	var n int
	err := c.QueryRowContext(ctx, `SELECT count(*) FROM timeline WHERE incident = ? AND key = ?`, id, key).Scan(&n)
	return n > 0, err
}

// apply is the one place where an incident changes phase.
func apply(ctx context.Context, c *sql.Conn, id, key string, p prepared) error {
	var phase incident.Phase
	var decisions sql.NullString
	var test int
	err := c.QueryRowContext(ctx, `SELECT phase, decisions, test FROM incidents WHERE id = ?`, id).Scan(&phase, &decisions, &test)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	if err != nil {
		return err
	}
	if phase.Closed() && p.saves() {
		return ErrClosed
	}
	if test != noTest && (acting(p.To) || p.Execution != nil) {
		return ErrTest
	}
	if p.To != "" {
		if err := phase.To(p.To); err != nil {
			return fmt.Errorf("%w: %w", ErrPhase, err)
		}
		phase = p.To
	}
	if p.saves() {
		if err := save(ctx, c, id, phase, decisions, p); err != nil {
			return err
		}
	}
	p.Event.Phase = phase
	if err := appendEvent(ctx, c, id, key, p.Event); err != nil {
		return err
	}
	switch {
	case p.CorrelateWithin > 0 && p.Diagnosis != nil:
		return correlate(ctx, c, id, p)
	case p.To.Closed():
		return goOn(ctx, c, id, p.Event.At)
	}
	return nil
}

// acting reports whether something may be changed in a phase, or from it on.
func acting(p incident.Phase) bool {
	return p == incident.AwaitingApproval || p == incident.Executing || p == incident.Verifying
}

func save(ctx context.Context, c *sql.Conn, id string, phase incident.Phase, decisions sql.NullString, p prepared) error {
	if p.Decision != nil {
		var all []incident.Decision
		if decisions.Valid {
			if err := fromJSON(decisions.String, &all); err != nil {
				return err
			}
		}
		text, err := toJSON(append(all, *p.Decision))
		if err != nil {
			return err
		}
		decisions = sql.NullString{Valid: true, String: text}
	}
	var closedAt, answerBy sql.NullInt64
	if phase.Closed() {
		closedAt = sql.NullInt64{Valid: true, Int64: p.Event.At.UnixNano()}
	}
	if !p.AnswerBy.IsZero() {
		answerBy = sql.NullInt64{Valid: true, Int64: p.AnswerBy.UnixNano()}
	}
	_, err := c.ExecContext(ctx, `UPDATE incidents SET phase = ?, decisions = ?, closed_at = ?,
		outcome = ?, reason = CASE ? WHEN '' THEN reason ELSE ? END,
		diagnosis = coalesce(?, diagnosis), plan = coalesce(?, plan), verification = coalesce(?, verification),
		answer_by = coalesce(?, answer_by) WHERE id = ?`,
		phase, decisions, closedAt, p.Outcome, p.Reason, p.Reason, p.diagnosis, p.plan, p.verification, answerBy, id)
	if err != nil {
		return err
	}
	if p.execution != nil {
		if _, err := c.ExecContext(ctx, `INSERT INTO executions (incident, step, act, doc) VALUES (?, ?, ?, ?)`,
			id, p.Execution.Step, p.Act, *p.execution); err != nil {
			return err
		}
	}
	if phase.Closed() {
		_, err = c.ExecContext(ctx, `DELETE FROM claims WHERE incident = ?`, id)
	}
	return err
}

// appendEvent adds a line; a key that is there already stays as it is.
func appendEvent(ctx context.Context, c *sql.Conn, id, key string, e incident.Event) error {
	var fields sql.NullString
	if len(e.Fields) > 0 {
		text, err := toJSON(e.Fields)
		if err != nil {
			return err
		}
		fields = sql.NullString{Valid: true, String: text}
	}
	_, err := c.ExecContext(ctx, `INSERT INTO timeline (incident, seq, key, at, phase, kind, message, fields)
		VALUES (?1, (SELECT coalesce(max(seq), 0) + 1 FROM timeline WHERE incident = ?1), ?2, ?3, ?4, ?5, ?6, ?7)
		ON CONFLICT (incident, key) DO NOTHING`,
		id, key, e.At.UnixNano(), e.Phase, e.Kind, e.Message, fields)
	return err
}

// toJSON may refuse what a sender made up: a time with an offset of a day, say.
func toJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encoding a %T: %w", v, err)
	}
	return string(b), nil
}

func fromJSON(text string, v any) error {
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return fmt.Errorf("decoding a stored %T: %w", v, err)
	}
	return nil
}
