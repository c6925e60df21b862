package pagerduty

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/PagerDuty/go-pagerduty"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/outbox"
	"github.com/kmend/kmend/internal/secret"
)

// Incidents is where the poster reads.
type Incidents interface {
	Get(ctx context.Context, id string) (incident.Incident, error)
	// Others counts the other incidents of the same group since a time that are open,
	// or ended and are not fixed: PagerDuty has one incident for all of them.
	Others(ctx context.Context, id string, since time.Time) (int, error)
}

// enough is how long after the end what PagerDuty does not take is given up, and how
// far back the other incidents of a group count.
const enough = 24 * time.Hour

// Sent is what PagerDuty was told of an incident.
type Sent struct {
	Incident string // an episode's id
	Found    string // PagerDuty's incident; empty until it was found
	Notes    int    // of Notes, from the first
	Paged    bool   // kmend paged somebody itself
	Status   string // what kmend set PagerDuty's incident to: acknowledged, resolved, or empty
	Done     bool   // there is nothing more to tell
	Route    string // with Paged: the name of the route by which
}

// Route is what is different for some incidents. The zero Route is for all others.
type Route struct {
	Name string
	Off  bool         // nothing is told
	Key  *secret.File // of the Events API v2 integration where kmend pages; nil: the client's
	// Words are an operator's about finding and plan, in lines; nil: kmend's own.
	Words func(incident.Incident) (string, error)
}

// Routes choose.
type Routes interface {
	Of(inc incident.Incident) Route
	Named(name string) Route // the zero Route where there is none of that name any more
}

// Ledger keeps what was sent over a restart.
type Ledger interface {
	Sent(ctx context.Context, id string) (Sent, error)
	KeepSent(ctx context.Context, s Sent) error
}

// Options of a Poster. Start from DefaultOptions.
type Options struct {
	Client    *Client
	Incidents Incidents
	Ledger    Ledger
	// DedupLabel is the label, or the annotation, that holds the dedup key of
	// PagerDuty's incident; where an alert has none, the group's key gives it.
	DedupLabel string
	Routes     Routes // nil: there is but one
	Logger     *slog.Logger
	Metrics    *Metrics
	Pace       outbox.Pace
	// FindWithin is how long after an incident was received PagerDuty's is looked for:
	// both are told of the alert at the same time.
	FindWithin time.Duration
	// Hold is how much longer a note waits for the summary of its incident, because no
	// note can be edited; nil: not at all.
	Hold func(ctx context.Context, inc incident.Incident) (time.Duration, error)
}

// DefaultOptions is everything but the parts.
func DefaultOptions() Options {
	return Options{Logger: slog.New(slog.DiscardHandler), FindWithin: 15 * time.Minute,
		Pace: outbox.Pace{Interval: 200 * time.Millisecond, Retry: 2 * time.Second}} // 960 requests a minute are allowed to an account
}

// Metrics count what PagerDuty was told.
type Metrics struct{ messages *prometheus.CounterVec }

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kmend_pagerduty_messages_total",
		Help: "Messages to PagerDuty by result; limited and failed ones are sent again, no_incident ones given up.",
	}, []string{"result"})}
	for _, r := range []string{"note", "page", "page_resolved", "acknowledged", "resolved", "limited", "failed", "no_incident"} {
		m.messages.WithLabelValues(r)
	}
	reg.MustRegister(m.messages)
	return m
}

func (m *Metrics) count(result string) { m.messages.WithLabelValues(result).Inc() }

// Poster tells PagerDuty. It never holds up who tells it of a change.
type Poster struct {
	Options
	box *outbox.Outbox
}

// NewPoster makes a Poster; Run makes it work.
func NewPoster(o Options) (*Poster, error) {
	switch {
	case o.Client == nil, o.Incidents == nil, o.Ledger == nil, o.Logger == nil, o.Metrics == nil:
		return nil, errors.New("pagerduty poster: options Client, Incidents, Ledger, Logger and Metrics must be set")
	case o.Pace.Interval < 0 || o.Pace.Retry <= 0 || o.FindWithin < 0:
		return nil, fmt.Errorf("pagerduty poster: option Pace is %+v and FindWithin %s; want an interval and a time of 0 or more, and a retry of more than 0", o.Pace, o.FindWithin)
	}
	return &Poster{o, outbox.New()}, nil
}

// Changed says that an incident has changed; it returns at once.
func (p *Poster) Changed(id string, urgent bool) { p.box.Changed(id, urgent) }

// errNotYet: PagerDuty does not know the alerts yet.
var errNotYet = errors.New("PagerDuty has no open incident with this dedup key")

// errHeld: the note waits for the incident's summary. Who writes it says when it is there.
var errHeld = errors.New("the note waits for the summary")

// Run tells PagerDuty of what changes until ctx ends.
func (p *Poster) Run(ctx context.Context) {
	p.box.Run(ctx, p.Pace, func(ctx context.Context, id string, again time.Duration) outbox.Result {
		sent, err := p.tell(ctx, id)
		switch {
		case err == nil || ctx.Err() != nil:
			return outbox.Result{Sent: sent, Err: err}
		case errors.Is(err, errNotYet):
			return outbox.Result{Sent: sent, Err: err}
		case limited(err):
			p.Metrics.count("limited")
			return outbox.Result{Sent: true, Err: err, Limited: true, After: max(again, p.Pace.Retry)}
		}
		p.Metrics.count("failed")
		p.Logger.Warn("message waits for PagerDuty", "incident", id, "again", again.String(), "error", err)
		return outbox.Result{Sent: sent, Err: err}
	})
}

// tell sends what was not sent yet of one incident, in order. Each part is written
// down before the next one is sent.
func (p *Poster) tell(ctx context.Context, id string) (asked bool, err error) {
	inc, err := p.Incidents.Get(ctx, id)
	if err != nil {
		return false, err
	}
	sent, err := p.Ledger.Sent(ctx, id)
	if err != nil || sent.Done {
		return false, err
	}
	sent.Incident = id
	route := p.route(inc)
	asked, failed := p.page(ctx, inc, &sent, route)
	held := false
	if p.Client.token != nil && !inc.Quiet() && (!route.Off || sent.Notes > 0) { // what was begun is brought to its end
		noted, err := p.note(ctx, inc, &sent, route) // also when there is no page: one of them may be set up wrong
		if held = errors.Is(err, errHeld); held {
			err = nil
		}
		asked, failed = asked || noted, errors.Join(failed, err)
	}
	if failed != nil && (!inc.Phase.Closed() || time.Since(inc.ClosedAt) < enough) {
		return asked, failed
	}
	if failed != nil {
		p.Logger.Error("PagerDuty is not told of an incident that ended a day ago", "incident", id, "error", failed)
	}
	if inc.Phase.Closed() && !held {
		sent.Done = true
		return asked, p.Ledger.KeepSent(ctx, sent)
	}
	return asked, nil
}

func (p *Poster) route(inc incident.Incident) Route {
	if p.Routes == nil {
		return Route{}
	}
	return p.Routes.Of(inc)
}

// words are the operator's, empty for kmend's own.
func (p *Poster) words(inc incident.Incident, r Route) string {
	if r.Words == nil {
		return ""
	}
	words, err := r.Words(inc)
	if err != nil {
		p.Logger.Error("a template fails; the note has kmend's own words", "incident", inc.ID, "error", err)
		return ""
	}
	return words
}

// note writes the notes that are not there yet.
func (p *Poster) note(ctx context.Context, inc incident.Incident, sent *Sent, r Route) (asked bool, err error) {
	notes := Notes(inc, p.words(inc, r))
	if sent.Notes < len(notes) && p.Hold != nil {
		left, err := p.Hold(ctx, inc)
		if err != nil {
			return false, err
		}
		if left > 0 {
			time.AfterFunc(left, func() { p.Changed(inc.ID, false) })
			return false, errHeld
		}
	}
	for sent.Notes < len(notes) {
		asked = true
		if sent.Found == "" {
			if sent.Found, err = p.Client.Find(ctx, DedupKey(inc, p.DedupLabel)); err != nil {
				return asked, err
			}
			if sent.Found == "" {
				if time.Since(inc.ReceivedAt) < p.FindWithin {
					return asked, errNotYet
				}
				p.Metrics.count("no_incident")
				p.Logger.Warn("PagerDuty has no incident for these alerts, so nothing is noted there", "incident", inc.ID, "dedupKey", DedupKey(inc, p.DedupLabel))
				sent.Notes = len(notes)
				return asked, p.Ledger.KeepSent(ctx, *sent)
			}
		}
		if err := p.Client.Note(ctx, sent.Found, notes[sent.Notes]); gone(err) {
			sent.Found = "" // merged or deleted: look for it again
			return asked, errors.Join(errNotYet, err, p.Ledger.KeepSent(ctx, *sent))
		} else if err != nil {
			return asked, err
		}
		p.Metrics.count("note")
		sent.Notes++
		if err := p.Ledger.KeepSent(ctx, *sent); err != nil {
			return asked, err
		}
	}
	return p.update(ctx, inc, sent, asked)
}

// status is what a policy wants PagerDuty's incident to be now, empty for as it is.
func status(inc incident.Incident) string {
	if len(inc.Decisions) == 0 {
		return ""
	}
	may := inc.Decisions[len(inc.Decisions)-1].PagerDuty
	switch {
	case may == nil:
	case may.Resolve && inc.Outcome == incident.Fixed:
		return "resolved"
	case may.Acknowledge && (inc.Phase == incident.Executing || inc.Phase == incident.Verifying):
		return "acknowledged"
	}
	return ""
}

// update sets PagerDuty's incident to what a policy wants, once: who changes that
// afterwards is not overruled.
func (p *Poster) update(ctx context.Context, inc incident.Incident, sent *Sent, asked bool) (bool, error) {
	want := status(inc)
	if want == "" || want == sent.Status || sent.Found == "" {
		return asked, nil
	}
	if n := len(inc.Episodes); n > 0 && inc.Episodes[n-1].ID != inc.ID {
		return asked, nil // it fires again
	}
	if others, err := p.Incidents.Others(ctx, inc.ID, time.Now().Add(-enough)); err != nil || others > 0 {
		return asked, err // somebody may be needed for those
	}
	if err := p.Client.Set(ctx, sent.Found, want); err != nil && !gone(err) {
		return true, err
	}
	p.Metrics.count(want)
	sent.Status = want
	return true, p.Ledger.KeepSent(ctx, *sent)
}

// page triggers an incident of kmend's own where a person has to look at what it did,
// and resolves it when a later episode is fixed: not when the alert resolved by
// itself, for what was left behind is still there.
func (p *Poster) page(ctx context.Context, inc incident.Incident, sent *Sent, r Route) (asked bool, err error) {
	if sent.Paged {
		return false, nil
	}
	e := pagerduty.V2Event{DedupKey: "kmend/" + inc.Root(), Client: "kmend"}
	switch inc.Outcome {
	case incident.Failed, incident.Undone, incident.Interrupted:
		e.Action = "trigger"
		e.Payload = &pagerduty.V2Payload{Summary: field(fmt.Sprintf("kmend %s: %s: %s", inc.Outcome, inc.Aim(), inc.Reason), maxSummary), Source: field(inc.Aim().String(), maxName),
			Severity: "error", Class: string(inc.Outcome), Timestamp: inc.ClosedAt.UTC().Format(time.RFC3339), Details: details(inc)}
	case incident.Fixed:
		if inc.Episode < 2 {
			return false, nil
		}
		e.Action = "resolve"
		if r, err = p.pagedBy(ctx, inc, r); err != nil {
			return false, err
		}
	default:
		return false, nil
	}
	key := cmp.Or(r.Key, p.Client.routing)
	// What kmend has acknowledged nobody is called for any more, whatever its route is by now.
	if key == nil || r.Off && sent.Status == "" {
		return false, nil
	}
	if err := p.Client.Event(ctx, e, key); err != nil {
		return true, err
	}
	p.Metrics.count(map[string]string{"trigger": "page", "resolve": "page_resolved"}[e.Action])
	sent.Paged, sent.Route = true, r.Name
	return true, p.Ledger.KeepSent(ctx, *sent)
}

// pagedBy is the route by which an earlier episode paged, as it is now, whatever the
// route of this one is; otherwise that.
func (p *Poster) pagedBy(ctx context.Context, inc incident.Incident, r Route) (Route, error) {
	for _, e := range slices.Backward(inc.Episodes) {
		if e.ID == inc.ID {
			continue
		}
		was, err := p.Ledger.Sent(ctx, e.ID)
		if err != nil {
			return r, err
		}
		if was.Paged && p.Routes != nil {
			r = p.Routes.Named(was.Route)
			r.Off = false
			return r, nil
		}
	}
	return r, nil
}

// details are the fields that PagerDuty shows as a table.
func details(inc incident.Incident) map[string]string {
	d := map[string]string{"incident": inc.ID, "outcome": string(inc.Outcome), "target": field(inc.Aim().String(), maxName), "reason": field(inc.Reason, maxNote)}
	if inc.Aim() != inc.Target {
		d["alert_target"] = field(inc.Target.String(), maxName)
	}
	if inc.Diagnosis != nil {
		d["node"] = field(inc.Diagnosis.Node.Name, maxName)
		if f, ok := inc.Diagnosis.RootCause(); ok {
			d["cause"], d["finding"] = string(f.Cause), field(f.Message, maxNote)
		}
	}
	if inc.Plan != nil {
		d["runbook"] = field(inc.Plan.Runbook, maxName)
	}
	return d
}
