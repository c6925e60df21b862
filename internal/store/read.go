package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/kmend/kmend/incident"
)

// MaxList is the most incidents that List returns.
const MaxList = 500

// Filter says which incidents List returns.
type Filter struct {
	Open   bool           // only open ones
	Phase  incident.Phase // only in this phase
	Before string         // only older than this incident id: the next page
	Limit  int            // at most; 0 and more than MaxList are MaxList
}

// Progress is an incident with what the workflow needs to go on with it.
type Progress struct {
	incident.Incident
	NoTarget string                    // why the alerts name nothing that can be measured
	Keys     map[string]incident.Event // the timeline by key
	AnswerBy time.Time                 // until when a person may answer
	Applied  map[int]incident.Execution
	Undone   map[int]incident.Execution
	// OwnedAt is when the replica that runs the incident took it, SeenUntil when the
	// one before it was last known to be up; zero without Join, and when there was none.
	OwnedAt, SeenUntil time.Time
}

// Get returns an incident with its timeline; ErrNotFound when there is none.
func (s *Store) Get(ctx context.Context, id string) (incident.Incident, error) {
	p, err := s.Progress(ctx, id)
	return p.Incident, err
}

// Progress returns how far an incident has come; ErrNotFound when there is none.
func (s *Store) Progress(ctx context.Context, id string) (Progress, error) {
	var p Progress
	err := s.read(ctx, func(tx *sql.Tx) error {
		var err error
		p, err = load(ctx, tx, id)
		return err
	})
	if err != nil {
		return Progress{}, fmt.Errorf("reading incident %q: %w", id, err)
	}
	return p, nil
}

// Latest returns the last episode of the incident that id is an episode of;
// ErrNotFound when there is none.
func (s *Store) Latest(ctx context.Context, id string) (incident.Incident, error) {
	var p Progress
	err := s.read(ctx, func(tx *sql.Tx) error {
		ids, err := column(ctx, tx, `SELECT j.id FROM incidents i JOIN incidents j ON j.first = i.first WHERE i.id = ? ORDER BY j.episode DESC LIMIT 1`, id)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			return ErrNotFound
		}
		p, err = load(ctx, tx, ids[0])
		return err
	})
	if err != nil {
		return incident.Incident{}, fmt.Errorf("reading incident %q: %w", id, err)
	}
	return p.Incident, nil
}

// List returns incidents, newest first, each as Get does: of several episodes the last.
func (s *Store) List(ctx context.Context, f Filter) ([]incident.Incident, error) {
	if f.Limit <= 0 || f.Limit > MaxList {
		f.Limit = MaxList
	}
	list := []incident.Incident{}
	err := s.read(ctx, func(tx *sql.Tx) error {
		ids, err := column(ctx, tx, `SELECT id FROM incidents i
			WHERE (?1 = 0 OR closed_at IS NULL) AND (?2 = '' OR phase = ?2) AND (?3 = '' OR id < ?3)
			AND NOT EXISTS (SELECT 1 FROM incidents j WHERE j.first = i.first AND j.episode > i.episode)
			ORDER BY id DESC LIMIT ?4`, f.Open, f.Phase, f.Before, f.Limit)
		if err != nil {
			return err
		}
		for _, id := range ids {
			p, err := load(ctx, tx, id)
			if err != nil {
				return err
			}
			list = append(list, p.Incident)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing incidents: %w", err)
	}
	return list, nil
}

// Waiting are the open incidents in one phase.
type Waiting struct {
	Phase     incident.Phase
	Incidents int
	Since     time.Time // when the one that has been in it longest came into it
}

// Waiting says for each phase that has open incidents how many.
func (s *Store) Waiting(ctx context.Context) (all []Waiting, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT phase, count(*), min(since) FROM (
			SELECT i.phase, coalesce((SELECT min(t.at) FROM timeline t WHERE t.incident = i.id AND t.phase = i.phase), i.received_at) AS since
			FROM incidents i WHERE i.closed_at IS NULL) AS waiting GROUP BY phase ORDER BY phase`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var w Waiting
			var since int64
			if err := rows.Scan(&w.Phase, &w.Incidents, &since); err != nil {
				return err
			}
			w.Since = at(since)
			all = append(all, w)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("counting open incidents: %w", err)
	}
	return all, nil
}

// read runs f in one snapshot, on either database.
func (s *Store) read(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := s.readers.BeginTx(ctx, s.d.snapshot)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	return f(tx)
}

func load(ctx context.Context, tx *sql.Tx, id string) (Progress, error) {
	p := Progress{Keys: map[string]incident.Event{}, Applied: map[int]incident.Execution{}, Undone: map[int]incident.Execution{}}
	p.ID = id
	for _, part := range []func(context.Context, *sql.Tx, *Progress) error{loadRow, loadTimeline, loadApproval, loadExecutions, loadEpisodes, loadParts, loadSummary} {
		if err := part(ctx, tx, &p); err != nil {
			return Progress{}, err
		}
	}
	return p, nil
}

func loadRow(ctx context.Context, tx *sql.Tx, p *Progress) error {
	var target, alerts, parent, shares, shared string
	var number, test int
	var diagnosis, plan, decisions, verification sql.NullString
	var received, owned, seen int64
	var closed, answerBy sql.NullInt64
	err := tx.QueryRowContext(ctx, `SELECT dedup_key, phase, outcome, reason, no_target, deliveries, received_at, closed_at,
		target, alerts, diagnosis, plan, decisions, verification, answer_by, owned_at, owner_seen,
		first, episode, parent, shares, shared, part, test FROM incidents WHERE id = ?`, p.ID).
		Scan(&p.DedupKey, &p.Phase, &p.Outcome, &p.Reason, &p.NoTarget, &p.Deliveries, &received, &closed,
			&target, &alerts, &diagnosis, &plan, &decisions, &verification, &answerBy, &owned, &seen,
			&p.First, &p.Episode, &parent, &shares, &shared, &number, &test)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	if err != nil {
		return err
	}
	p.Test, p.TestPosted = test != 0, test == testPosted
	if p.Episode == 1 {
		p.First, p.Episode = "", 0
	}
	if parent != "" {
		p.Parent = &incident.Parent{Incident: parent, Shares: shares, What: shared, Number: number}
	}
	p.ReceivedAt, p.ClosedAt, p.AnswerBy = at(received), atNull(closed), atNull(answerBy)
	p.OwnedAt, p.SeenUntil = atNull(sql.NullInt64{Int64: owned, Valid: owned != 0}), atNull(sql.NullInt64{Int64: seen, Valid: seen != 0})
	for _, doc := range []struct {
		text sql.NullString
		to   any
	}{
		{sql.NullString{String: target, Valid: true}, &p.Target}, {sql.NullString{String: alerts, Valid: true}, &p.Alerts},
		{diagnosis, &p.Diagnosis}, {plan, &p.Plan}, {decisions, &p.Decisions}, {verification, &p.Verification},
	} {
		if !doc.text.Valid {
			continue
		}
		if err := fromJSON(doc.text.String, doc.to); err != nil {
			return err
		}
	}
	return nil
}

func loadTimeline(ctx context.Context, tx *sql.Tx, p *Progress) error {
	rows, err := tx.QueryContext(ctx, `SELECT seq, key, at, phase, kind, message, fields FROM timeline WHERE incident = ? ORDER BY seq`, p.ID)
	if err != nil {
		return err
	}
	defer rows.Close()
	p.Timeline = []incident.Event{}
	for rows.Next() {
		var e incident.Event
		var key string
		var when int64
		var fields sql.NullString
		if err := rows.Scan(&e.Seq, &key, &when, &e.Phase, &e.Kind, &e.Message, &fields); err != nil {
			return err
		}
		e.At = at(when)
		if fields.Valid {
			if err := fromJSON(fields.String, &e.Fields); err != nil {
				return err
			}
		}
		p.Timeline = append(p.Timeline, e)
		p.Keys[key] = e
	}
	return rows.Err()
}

func loadExecutions(ctx context.Context, tx *sql.Tx, p *Progress) error {
	rows, err := tx.QueryContext(ctx, `SELECT act, doc FROM executions WHERE incident = ? ORDER BY id`, p.ID)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var act Act
		var doc string
		var e incident.Execution
		if err := rows.Scan(&act, &doc); err != nil {
			return err
		}
		if err := fromJSON(doc, &e); err != nil {
			return err
		}
		p.Executions = append(p.Executions, e)
		if act == Undo {
			p.Undone[e.Step] = e
		} else {
			p.Applied[e.Step] = e
		}
	}
	return rows.Err()
}

func column(ctx context.Context, tx *sql.Tx, query string, args ...any) ([]string, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

func at(ns int64) time.Time { return time.Unix(0, ns).UTC() }

func atNull(ns sql.NullInt64) time.Time {
	if !ns.Valid {
		return time.Time{}
	}
	return at(ns.Int64)
}
