package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kmend/kmend/incident"
)

// Approve commits a person's answer, with its line of the timeline, if the
// incident waits for one, for this very plan, and in time. A no decides; a yes
// does when persons different persons have said it, and less than 1 is a caller
// who did not see the incident wait: refused. Once it is decided an answer is
// ErrAnswered, and a second yes of one person is ErrSamePerson. Its At is the
// time of the commit.
func (s *Store) Approve(ctx context.Context, a incident.Approval, persons int) error {
	err := s.write.do(ctx, func(ctx context.Context, c *sql.Conn) error {
		return approve(ctx, c, a, persons)
	})
	if err != nil {
		return fmt.Errorf("answering incident %q: %w", a.Incident, err)
	}
	return nil
}

func approve(ctx context.Context, c *sql.Conn, a incident.Approval, persons int) error {
	var phase incident.Phase
	var plan sql.NullString
	var until sql.NullInt64
	err := c.QueryRowContext(ctx, `SELECT phase, plan, answer_by FROM incidents WHERE id = ?`, a.Incident).Scan(&phase, &plan, &until)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	case err != nil:
		return err
	}
	before, err := answersOf(ctx, c, a.Incident)
	if err != nil {
		return err
	}
	kind, err := kindOf(ctx, c, a.Incident, KeyAnswer)
	switch {
	case err != nil:
		return err
	case kind == "approved" || kind == "rejected":
		return fmt.Errorf("%w by %s", ErrAnswered, before[len(before)-1].By)
	case phase.Closed():
		return ErrClosed
	case phase != incident.AwaitingApproval:
		return fmt.Errorf("%w: it is %s", ErrNotAwaiting, phase)
	case kind != "":
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
	if persons < 1 {
		return fmt.Errorf("%w: it did not when it was asked", ErrNotAwaiting)
	}
	if a.Approve && slices.ContainsFunc(before, a.SamePerson) {
		return ErrSamePerson
	}
	if err := insertAnswer(ctx, c, a, len(before)+1); err != nil {
		return err
	}
	key, e := answerEvent(a, len(before)+1, persons, incident.Approved(append(before, a), a.Plan))
	e.Phase = phase
	return appendEvent(ctx, c, a.Incident, key, e)
}
