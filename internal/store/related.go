package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kmend/kmend/incident"
)

const (
	maxEpisodes = 20 // that an incident lists
	maxPartIDs  = 10 // that a parent names
)

// predecessor is the episode before, which is over.
type predecessor struct {
	first   string
	episode int
	outcome incident.Outcome
	at      time.Time // of the last line of its timeline: when its alert resolved, if that was later
}

// extends is the episode that a new one follows; nil when the last incident of
// the key ended too long ago, or there is none.
func (d delivery) extends() (*predecessor, error) {
	if d.seed.ExtendWithin <= 0 {
		return nil, nil
	}
	var e predecessor
	var last int64
	// Its last episode by number: the clocks of two replicas differ, and one may be set.
	err := d.c.QueryRowContext(d.ctx, `SELECT i.first, i.episode, i.outcome, (SELECT max(t.at) FROM timeline t WHERE t.incident = i.id)
		FROM incidents i WHERE i.dedup_key = ?1
		AND i.first = (SELECT j.first FROM incidents j WHERE j.dedup_key = ?1 ORDER BY j.received_at DESC, j.id DESC LIMIT 1)
		ORDER BY i.episode DESC LIMIT 1`, d.seed.DedupKey).Scan(&e.first, &e.episode, &e.outcome, &last)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if e.at = at(last); d.now.Sub(e.at) > d.seed.ExtendWithin {
		return nil, nil
	}
	return &e, nil
}

// again says how an episode follows the one before.
func (e predecessor) again(now time.Time, episode int) string {
	return fmt.Sprintf("it fires again %s after the last time, which ended as %s (%d times now)", now.Sub(e.at).Round(time.Second), e.outcome, episode)
}

// goOn opens the next episode of an incident that ends while alerts of it fire that
// it was not about: they came while it acted. The sweep finds it.
func goOn(ctx context.Context, c *sql.Conn, id string, now time.Time) error {
	d := delivery{ctx: ctx, c: c, now: now, seed: Seed{Source: "kmend", ExtendWithin: time.Hour}}
	var target, alerts string
	if err := c.QueryRowContext(ctx, `SELECT dedup_key, no_target, target, alerts FROM incidents WHERE id = ?`, id).
		Scan(&d.seed.DedupKey, &d.seed.NoTarget, &target, &alerts); err != nil {
		return err
	}
	if err := errors.Join(fromJSON(target, &d.seed.Target), fromJSON(alerts, &d.seed.Alerts)); err != nil || !anyFiring(d.seed.Alerts) {
		return err
	}
	if known, err := d.knownFiring(); err != nil || known != "" {
		return err
	}
	_, err := d.create()
	return err
}

// correlate makes a diagnosed incident a part of the first one around it that has
// its node or its confirmed cause, in the same cluster; the node counts more. Only
// what is no part of another has parts.
func correlate(ctx context.Context, c *sql.Conn, id string, p prepared) error {
	var first, text string
	var phase incident.Phase
	var received int64
	if err := c.QueryRowContext(ctx, `SELECT first, target, phase, received_at FROM incidents WHERE id = ?`, id).Scan(&first, &text, &phase, &received); err != nil {
		return err
	}
	var t incident.Target
	if err := fromJSON(text, &t); err != nil {
		return err
	}
	t = t.Over(p.Diagnosis.Target)
	node := cmp.Or(p.Diagnosis.Node.Name, t.Node)
	root, _ := p.Diagnosis.RootCause()
	if _, err := c.ExecContext(ctx, `UPDATE incidents SET cluster = ?, node = ?, cause = ? WHERE id = ?`, t.Cluster, node, root.Cause, id); err != nil {
		return err
	}
	within := p.CorrelateWithin.Nanoseconds()
	var parent incident.Parent
	err := c.QueryRowContext(ctx, `SELECT first, node FROM incidents
		WHERE first <> ?1 AND parent = '' AND cluster = ?2 AND received_at BETWEEN ?3 AND ?4
		AND ((node <> '' AND node = ?5) OR (cause <> '' AND cause = ?6))
		ORDER BY CASE WHEN node = ?5 THEN 0 ELSE 1 END, received_at, id LIMIT 1`,
		first, t.Cluster, received-within, received+within, node, root.Cause).Scan(&parent.Incident, &parent.What)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	parent.Shares = incident.SharesNode
	if parent.What != node || node == "" {
		parent.Shares, parent.What = incident.SharesCause, string(root.Cause)
	}
	if parent.Number, err = number(ctx, c, parent.Incident, first); err != nil {
		return err
	}
	if _, err := c.ExecContext(ctx, `UPDATE incidents SET parent = ?, shares = ?, shared = ?, part = ? WHERE id = ?`,
		parent.Incident, parent.Shares, parent.What, parent.Number, id); err != nil {
		return err
	}
	return appendEvent(ctx, c, id, "correlated", incident.Event{At: p.Event.At, Phase: phase, Kind: "correlated",
		Message: fmt.Sprintf("part of incident %s, with which it shares the %s %s", parent.Incident, parent.Shares, parent.What)})
}

// number is how manyth part of a parent an incident is: all its episodes are one.
func number(ctx context.Context, c *sql.Conn, parent, first string) (n int, err error) {
	err = c.QueryRowContext(ctx, `SELECT part FROM incidents WHERE parent = ? AND first = ? LIMIT 1`, parent, first).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		err = c.QueryRowContext(ctx, `SELECT count(DISTINCT first) + 1 FROM incidents WHERE parent = ?`, parent).Scan(&n)
	}
	return n, err
}

// loadEpisodes reads the other times that the alerts of an incident fired.
func loadEpisodes(ctx context.Context, tx *sql.Tx, p *Progress) error {
	rows, err := tx.QueryContext(ctx, `SELECT id, received_at, closed_at, outcome, reason FROM incidents WHERE first = ? ORDER BY episode DESC LIMIT ?`, p.Root(), maxEpisodes)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var e incident.Episode
		var received int64
		var closed sql.NullInt64
		if err := rows.Scan(&e.ID, &received, &closed, &e.Outcome, &e.Reason); err != nil {
			return err
		}
		e.ReceivedAt, e.ClosedAt = at(received), atNull(closed)
		p.Episodes = append(p.Episodes, e)
	}
	if len(p.Episodes) == 1 {
		p.Episodes = nil
	}
	slices.Reverse(p.Episodes)
	return rows.Err()
}

// loadParts reads what is part of an incident.
func loadParts(ctx context.Context, tx *sql.Tx, p *Progress) error {
	rows, err := tx.QueryContext(ctx, `SELECT outcome, count(*) FROM incidents i WHERE parent = ?1
		AND NOT EXISTS (SELECT 1 FROM incidents j WHERE j.first = i.first AND j.parent = ?1 AND j.episode > i.episode) GROUP BY outcome`, p.Root())
	if err != nil {
		return err
	}
	defer rows.Close()
	parts := incident.Parts{Outcomes: map[incident.Outcome]int{}}
	for rows.Next() {
		var o incident.Outcome
		var n int
		if err := rows.Scan(&o, &n); err != nil {
			return err
		}
		if parts.Count += n; o == "" {
			parts.Open = n
		} else {
			parts.Outcomes[o] = n
		}
	}
	if err := rows.Err(); err != nil || parts.Count == 0 {
		return err
	}
	if parts.IDs, err = column(ctx, tx, `SELECT max(id) FROM incidents WHERE parent = ? GROUP BY first, part ORDER BY part LIMIT ?`, p.Root(), maxPartIDs); err != nil {
		return err
	}
	p.Parts = &parts
	return nil
}
