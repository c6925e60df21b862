package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/kmend/kmend/incident"
)

// Seed is what one notification says about one target.
type Seed struct {
	DedupKey string // group key and Target.Key
	Target   incident.Target
	Alerts   []incident.Alert // firing and resolved ones; each with a fingerprint
	Source   string           // who sent it, for the timeline
	// LeftOut is how many alerts of the notification the sender left out, of this
	// target or of another: with any, what is missing means nothing.
	LeftOut int
	// NoTarget says why the alerts name nothing that can be measured; empty when they do.
	NoTarget string
	// ExtendWithin is how long ago the last incident of the key may have ended to be
	// extended by what would be a new one; 0: it is never extended.
	ExtendWithin time.Duration
	// Test: it opens an incident that never changes anything. With TestPosted people
	// are told of that.
	Test, TestPosted bool
}

// maxTests is how many incidents of test alerts may be open at a time.
const maxTests = 3

// The column test.
const (
	noTest = iota
	testSilent
	testPosted
)

func (s Seed) test() int {
	switch {
	case s.Test && s.TestPosted:
		return testPosted
	case s.Test:
		return testSilent
	}
	return noTest
}

// Ingested is what became of a seed.
type Ingested struct {
	ID         string // of the incident it went to; empty when there was none to tell
	New        bool   // this delivery opened it
	Extends    bool   // with New: it is the next episode of one that ended
	Superseded bool   // this delivery closed it: the alert resolved before anything was changed
	Known      bool   // a firing that an incident, closed since, was about already
	Refused    bool   // it would have opened an incident, and too many are open
}

// Ingest commits the seeds of one notification and returns what became of each,
// in order. A firing seed opens an incident unless one is open for its key, or
// was about the very same firing. With limit incidents open before it, a
// notification opens none and is ErrFull: what it says of the others is committed
// all the same and returned with the error, and doing it again changes nothing
// but the count of deliveries. With fewer, all of it is taken, however many it
// opens: a part of it would be refused forever. Any other error: nothing is taken.
func (s *Store) Ingest(ctx context.Context, seeds []Seed, limit int) ([]Ingested, error) {
	now := time.Now()
	out := make([]Ingested, len(seeds))
	var open int
	var refused bool
	err := s.write.do(ctx, func(ctx context.Context, c *sql.Conn) error {
		refused = false
		if err := c.QueryRowContext(ctx, `SELECT count(*) FROM incidents WHERE closed_at IS NULL`).Scan(&open); err != nil {
			return err
		}
		for i, seed := range seeds {
			d := delivery{ctx: ctx, c: c, seed: seed, now: now, full: open >= limit}
			got, err := d.ingest()
			if err != nil {
				return err
			}
			out[i] = got
			refused = refused || got.Refused
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("committing a notification: %w", err)
	}
	if refused {
		return out, fmt.Errorf("opening incidents: %w (%d of %d)", ErrFull, open, limit)
	}
	return out, nil
}

// retriedFor is how late a firing may be delivered again that has resolved since.
const retriedFor = 5 * time.Minute

// delivery is one seed on its way into the database.
type delivery struct {
	ctx  context.Context
	c    *sql.Conn
	seed Seed
	now  time.Time
	full bool // no incident may be opened
}

func (d delivery) ingest() (Ingested, error) {
	open, err := d.open()
	switch {
	case err != nil:
		return Ingested{}, err
	case open != nil:
		return d.update(*open)
	case !anyFiring(d.seed.Alerts):
		return d.late()
	}
	old, err := d.knownFiring()
	if err != nil {
		return Ingested{}, err
	}
	if old != "" {
		return Ingested{ID: old, Known: true}, d.count(old)
	}
	if d.full {
		return Ingested{Refused: true}, nil
	}
	if err := d.tests(); err != nil {
		return Ingested{}, err
	}
	return d.create()
}

// tests refuses a test alert while too many are open.
func (d delivery) tests() error {
	if !d.seed.Test {
		return nil
	}
	var open int
	if err := d.c.QueryRowContext(d.ctx, `SELECT count(*) FROM incidents WHERE test <> 0 AND closed_at IS NULL`).Scan(&open); err != nil {
		return err
	}
	if open >= maxTests {
		return fmt.Errorf("%w (%d)", ErrTests, open)
	}
	return nil
}

// open is the open incident of the key, nil when there is none.
func (d delivery) open() (*incident.Incident, error) {
	var inc incident.Incident
	var alerts string
	err := d.c.QueryRowContext(d.ctx, `SELECT id, phase, alerts FROM incidents WHERE dedup_key = ? AND closed_at IS NULL`,
		d.seed.DedupKey).Scan(&inc.ID, &inc.Phase, &alerts)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &inc, fromJSON(alerts, &inc.Alerts)
}

// create opens an incident, or the next episode of one.
func (d delivery) create() (Ingested, error) {
	id, err := newID(d.now)
	if err != nil {
		return Ingested{}, err
	}
	before, err := d.extends()
	if err != nil {
		return Ingested{}, err
	}
	first, episode := id, 1
	if before != nil {
		first, episode = before.first, before.episode+1
		id = fmt.Sprintf("%s.%d", first, episode)
	}
	target, err := toJSON(d.seed.Target)
	if err != nil {
		return Ingested{}, err
	}
	alerts, err := toJSON(d.seed.Alerts)
	if err != nil {
		return Ingested{}, err
	}
	_, err = d.c.ExecContext(d.ctx, `INSERT INTO incidents (id, first, episode, dedup_key, phase, no_target, deliveries, received_at, target, alerts, test)
		VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?)`,
		id, first, episode, d.seed.DedupKey, incident.Received, d.seed.NoTarget, d.now.UnixNano(), target, alerts, d.seed.test())
	if err != nil {
		return Ingested{}, err
	}
	if err := d.own(id); err != nil {
		return Ingested{}, err
	}
	e := incident.Event{
		At: d.now, Phase: incident.Received, Kind: KindReceived,
		Message: fmt.Sprintf("%s about %s", describe(d.seed.Alerts), d.seed.Target),
		Fields:  map[string]string{"source": d.seed.Source},
	}
	if before != nil {
		e.Message += "; " + before.again(d.now, episode)
		if err := d.untold(first); err != nil {
			return Ingested{}, err
		}
	}
	if n := d.seed.LeftOut; n > 0 {
		e.Message += fmt.Sprintf("; %d more alerts were left out by the sender (max_alerts)", n)
		e.Fields["left_out"] = strconv.Itoa(n)
	}
	return Ingested{ID: id, New: true, Extends: before != nil}, appendEvent(d.ctx, d.c, id, "received", e)
}

// update is a delivery for an open incident.
func (d delivery) update(inc incident.Incident) (Ingested, error) {
	got := Ingested{ID: inc.ID}
	merged := merge(inc.Alerts, d.seed.Alerts, d.seed.LeftOut > 0)
	text, err := toJSON(merged)
	if err != nil {
		return got, err
	}
	if _, err := d.c.ExecContext(d.ctx, `UPDATE incidents SET deliveries = deliveries + 1, alerts = ? WHERE id = ?`, text, inc.ID); err != nil {
		return got, err
	}
	var joined []incident.Alert
	if !inc.Phase.Acted() && !repeats(d.seed.Alerts, inc.Alerts) {
		// What fires anew once this one acts was not diagnosed by it: not remembered,
		// it opens the next episode at the end.
		if joined, err = d.remember(inc.ID); err != nil {
			return got, err
		}
	}
	for _, a := range joined {
		err := appendEvent(d.ctx, d.c, inc.ID, firingKey("joined", a), incident.Event{
			At: d.now, Phase: inc.Phase, Kind: KindJoined, Message: fmt.Sprintf("alert %q joined", a.Name())})
		if err != nil {
			return got, err
		}
	}
	if anyFiring(merged) || d.seed.LeftOut > 0 {
		return got, nil
	}
	return d.resolve(inc.ID, inc.Phase)
}

// repeats reports whether every firing alert of a delivery is one that an incident
// has: then it is remembered already. Most deliveries of a storm are such.
func repeats(delivered, have []incident.Alert) bool {
	for _, a := range delivered {
		known := slices.ContainsFunc(have, func(h incident.Alert) bool { return h.Fingerprint == a.Fingerprint && h.StartsAt.Equal(a.StartsAt) })
		if a.Status != incident.Resolved && !known {
			return false
		}
	}
	return true
}

// resolve is for an open incident none of whose alerts fires any more: the end
// of one that changed nothing, only noted where something was changed.
func (d delivery) resolve(id string, phase incident.Phase) (Ingested, error) {
	got := Ingested{ID: id}
	if err := d.noteResolved(id, phase); err != nil || phase.Acted() {
		return got, err
	}
	got.Superseded = true
	return got, apply(d.ctx, d.c, id, KeyClosed, prepared{
		Change: Change{
			To: incident.Superseded.Phase(), Outcome: incident.Superseded,
			Reason: "the alert resolved before kmend changed anything",
			Event:  incident.Event{At: d.now, Kind: KindClosed, Message: "superseded: the alert resolved before kmend changed anything"},
		}})
}

// late is a resolved delivery without an open incident: noted on the last
// incident that was about one of its alerts.
func (d delivery) late() (Ingested, error) {
	for _, a := range d.seed.Alerts {
		var id string
		var phase incident.Phase
		err := d.c.QueryRowContext(d.ctx, `SELECT i.id, i.phase FROM firings f JOIN incidents i ON i.id = f.incident
			WHERE f.dedup_key = ? AND f.fingerprint = ? AND f.starts_at <= ? ORDER BY f.starts_at DESC LIMIT 1`,
			d.seed.DedupKey, a.Fingerprint, a.StartsAt.UnixNano()).Scan(&id, &phase)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return Ingested{}, err
		}
		if err := d.count(id); err != nil {
			return Ingested{}, err
		}
		return Ingested{ID: id}, d.noteResolved(id, phase)
	}
	return Ingested{}, nil
}

func (d delivery) noteResolved(id string, phase incident.Phase) error {
	last := d.seed.Alerts[len(d.seed.Alerts)-1]
	return appendEvent(d.ctx, d.c, id, firingKey("alert_resolved", last), incident.Event{
		At: d.now, Phase: phase, Kind: KindAlertResolved, Message: describe(d.seed.Alerts)})
}

// knownFiring is the incident that was about every firing alert of the seed
// already, "" when one of them is new. A firing that starts earlier than a known
// one of its fingerprint is known too: Alertmanager moves startsAt back when it
// merges what two Prometheus servers send, and retries come late. One that resolved
// a while ago before anything was done fires again, though it says that it began
// before: Prometheus could not reach Alertmanager meanwhile.
func (d delivery) knownFiring() (id string, err error) {
	for _, a := range d.seed.Alerts {
		if a.Status == incident.Resolved {
			continue
		}
		var at string
		err := d.c.QueryRowContext(d.ctx, `SELECT f.incident FROM firings f JOIN incidents i ON i.id = f.incident
			WHERE f.dedup_key = ? AND f.fingerprint = ? AND f.starts_at >= ? AND NOT (i.outcome = ? AND i.closed_at < ?) ORDER BY f.starts_at LIMIT 1`,
			d.seed.DedupKey, a.Fingerprint, a.StartsAt.UnixNano(), incident.Superseded, d.now.Add(-retriedFor).UnixNano()).Scan(&at)
		if errors.Is(err, sql.ErrNoRows) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		id = max(id, at) // ids sort by time
	}
	return id, nil
}

// own writes down that the seed's firings are those of an incident, whatever they
// were before.
func (d delivery) own(id string) error {
	for _, a := range d.seed.Alerts {
		if a.Status == incident.Resolved {
			continue
		}
		_, err := d.c.ExecContext(d.ctx, `INSERT INTO firings (dedup_key, fingerprint, starts_at, incident) VALUES (?, ?, ?, ?)
			ON CONFLICT (dedup_key, fingerprint, starts_at) DO UPDATE SET incident = excluded.incident`,
			d.seed.DedupKey, a.Fingerprint, a.StartsAt.UnixNano(), id)
		if err != nil {
			return err
		}
	}
	return nil
}

// remember writes down the seed's firings and returns those not seen before.
func (d delivery) remember(id string) (fresh []incident.Alert, err error) {
	for _, a := range d.seed.Alerts {
		if a.Status == incident.Resolved {
			continue
		}
		r, err := d.c.ExecContext(d.ctx, `INSERT INTO firings (dedup_key, fingerprint, starts_at, incident) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			d.seed.DedupKey, a.Fingerprint, a.StartsAt.UnixNano(), id)
		if err != nil {
			return nil, err
		}
		if n, err := r.RowsAffected(); err == nil && n > 0 {
			fresh = append(fresh, a)
		}
	}
	return fresh, nil
}

func (d delivery) count(id string) error {
	_, err := d.c.ExecContext(d.ctx, `UPDATE incidents SET deliveries = deliveries + 1 WHERE id = ?`, id)
	return err
}

// newID is unique, sorts by time, and can be read out on the phone.
func newID(now time.Time) (string, error) {
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("making an incident id: %w", err)
	}
	return now.UTC().Format("20060102-150405.000") + "-" + hex.EncodeToString(b[:]), nil
}
