package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/kmend/kmend/incident"
)

// Approve commits a person's answer, with its line of the timeline, if the
// incident waits for one, for this very plan, and in time. It is used once: a
// second answer is ErrAnswered. Its At is the time of the commit.
func (s *Store) Approve(ctx context.Context, a incident.Approval) error {
	err := s.write.do(ctx, func(ctx context.Context, c *sql.Conn) error {
		return approve(ctx, c, a)
	})
	if err != nil {
		return fmt.Errorf("answering incident %q: %w", a.Incident, err)
	}
	return nil
}

func approve(ctx context.Context, c *sql.Conn, a incident.Approval) error {
	var phase incident.Phase
	var plan, by sql.NullString
	var until sql.NullInt64
	err := c.QueryRowContext(ctx, `SELECT i.phase, i.plan, i.answer_by, a.by FROM incidents i LEFT JOIN approvals a ON a.incident = i.id WHERE i.id = ?`,
		a.Incident).Scan(&phase, &plan, &until, &by)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	case err != nil:
		return err
	case by.Valid:
		return fmt.Errorf("%w by %s", ErrAnswered, by.String)
	case phase.Closed():
		return ErrClosed
	case phase != incident.AwaitingApproval:
		return fmt.Errorf("%w: it is %s", ErrNotAwaiting, phase)
	}
	over, err := hasKey(ctx, c, a.Incident, KeyAnswer)
	if err != nil {
		return err
	}
	if over {
		return ErrExpired // the workflow gave up waiting, under the same key
	}
	a.At = time.Now()
	if a.At.UnixNano() > until.Int64 {
		return fmt.Errorf("%w since %s", ErrExpired, time.Unix(0, until.Int64).UTC().Format(time.RFC3339))
	}
	var p incident.Plan
	if err := fromJSON(plan.String, &p); err != nil {
		return err
	}
	if p.Digest() != a.Plan {
		return ErrPlanChanged
	}
	if _, err := c.ExecContext(ctx, `INSERT INTO approvals (incident, plan, approve, by, at) VALUES (?, ?, ?, ?, ?)`,
		a.Incident, a.Plan, a.Approve, a.By, a.At.UnixNano()); err != nil {
		return err
	}
	e := incident.Event{At: a.At, Phase: phase, Kind: "rejected", Message: "rejected by " + a.By, Fields: map[string]string{"by": a.By, "plan": a.Plan}}
	if a.Approve {
		e.Kind, e.Message = "approved", "approved by "+a.By
	}
	return appendEvent(ctx, c, a.Incident, KeyAnswer, e)
}
