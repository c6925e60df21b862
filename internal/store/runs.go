package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/kmend/kmend/incident"
)

// Run is one plan that was carried out, or is being.
type Run struct {
	Incident string           `json:"incident"`
	Runbook  string           `json:"runbook"`
	Scope    incident.Scope   `json:"scope"`
	Started  time.Time        `json:"started"`        // the intent of its first step
	Ended    time.Time        `json:"ended,omitzero"` // zero while it is being carried out
	Outcome  incident.Outcome `json:"outcome,omitempty"`
}

// Runs are the plans that are being carried out, and those that ended since a
// time, in the order in which they began.
func (s *Store) Runs(ctx context.Context, since time.Time) (runs []Run, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT i.id, i.target, i.plan, i.decisions, i.outcome, i.closed_at, t.at
			FROM timeline t JOIN incidents i ON i.id = t.incident
			WHERE t.key = 'intent/0' AND (i.closed_at IS NULL OR i.closed_at >= ?) ORDER BY t.at, i.id`, since.UnixNano())
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var r Run
			var target string
			var plan, decisions sql.NullString
			var closed sql.NullInt64
			var started int64
			if err := rows.Scan(&r.Incident, &target, &plan, &decisions, &r.Outcome, &closed, &started); err != nil {
				return err
			}
			r.Started, r.Ended = at(started), atNull(closed)
			if err := r.read(target, plan.String, decisions.String); err != nil {
				return err
			}
			runs = append(runs, r)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("reading what was done since %s: %w", since.UTC().Format(time.RFC3339), err)
	}
	return runs, nil
}

// read takes the runbook from the plan and the scope from the decision that let
// it act; an incident of before there were scopes has what its target says.
func (r *Run) read(target, plan, decisions string) error {
	var t incident.Target
	if err := fromJSON(target, &t); err != nil {
		return err
	}
	t.Container = ""
	r.Scope = incident.Scope{Target: t.Key(), Namespace: t.Namespace, Node: t.Node, Cluster: t.Cluster}
	var p struct{ Runbook string }
	if plan != "" {
		if err := fromJSON(plan, &p); err != nil {
			return err
		}
	}
	r.Runbook = p.Runbook
	var all []struct{ Scope incident.Scope }
	if decisions != "" {
		if err := fromJSON(decisions, &all); err != nil {
			return err
		}
	}
	for _, d := range all {
		if d.Scope != (incident.Scope{}) {
			r.Scope = d.Scope
		}
	}
	return nil
}
