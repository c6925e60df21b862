package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/kmend/kmend/incident"
)

// querier is a connection or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// answersOf are the answers to an incident's plan, in their order.
func answersOf(ctx context.Context, q querier, id string) ([]incident.Approval, error) {
	rows, err := q.QueryContext(ctx, `SELECT plan, approve, answered_by, person_name, slack_user, at FROM answers WHERE incident = ? ORDER BY number`, id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []incident.Approval
	for rows.Next() {
		a := incident.Approval{Incident: id}
		var yes, when int64
		if err := rows.Scan(&a.Plan, &yes, &a.By, &a.Name, &a.SlackUser, &when); err != nil {
			return nil, err
		}
		a.Approve, a.At = yes != 0, at(when)
		out = append(out, a)
	}
	return out, rows.Err()
}

func insertAnswer(ctx context.Context, c *sql.Conn, a incident.Approval, number int) error {
	yes := 0
	if a.Approve {
		yes = 1
	}
	_, err := c.ExecContext(ctx, `INSERT INTO answers (incident, number, plan, approve, answered_by, person_name, slack_user, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		a.Incident, number, a.Plan, yes, a.By, a.Name, a.SlackUser, a.At.UnixNano())
	return err
}

// answerEvent is the line of an answer. The one that decides is under KeyAnswer,
// where the workflow looks and where its giving up would be.
func answerEvent(a incident.Approval, number, persons, yes int) (key string, e incident.Event) {
	e = incident.Event{At: a.At, Kind: "rejected", Message: "rejected by " + a.By, Fields: map[string]string{"by": a.By, "plan": a.Plan}}
	if !a.Approve {
		return KeyAnswer, e
	}
	e.Kind, e.Message = "approved", "approved by "+a.By
	if persons > 1 {
		e.Message += fmt.Sprintf(", %d of %d persons", yes, persons)
	}
	if yes < persons {
		return fmt.Sprintf("%s/%d", KeyAnswer, number), e
	}
	return KeyAnswer, e
}

func loadApproval(ctx context.Context, tx *sql.Tx, p *Progress) error {
	answers, err := answersOf(ctx, tx, p.ID)
	if err != nil {
		return err
	}
	p.Approvals = answers
	if e := p.Keys[KeyAnswer]; len(answers) > 0 && (e.Kind == "approved" || e.Kind == "rejected") {
		p.Approval = &answers[len(answers)-1]
	}
	return nil
}

// kindOf is the kind of the timeline's line under a key, "" when there is none.
func kindOf(ctx context.Context, c *sql.Conn, id, key string) (kind string, err error) {
	err = c.QueryRowContext(ctx, `SELECT kind FROM timeline WHERE incident = ? AND key = ?`, id, key).Scan(&kind)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return kind, err
}
