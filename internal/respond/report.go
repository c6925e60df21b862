package respond

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// close writes the end of an incident, whoever ended it, and gives its target back.
func (r *Responder) close(e End) func(context.Context, store.Progress) (End, error) {
	return func(ctx context.Context, p store.Progress) (End, error) {
		defer r.bells.ring(claims)
		defer r.bells.ring(p.ID)
		if e.Outcome != "" {
			err := r.record(ctx, p.ID, store.KeyClosed, store.Change{To: e.Outcome.Phase(), Outcome: e.Outcome, Reason: e.Reason,
				Event: incident.Event{Kind: store.KindClosed, Message: fmt.Sprintf("%s: %s", e.Outcome, e.Reason)}})
			if err != nil && !errors.Is(err, store.ErrClosed) {
				return End{}, err
			}
		}
		p, err := r.Store.Progress(ctx, p.ID)
		if err != nil {
			return End{}, err
		}
		r.metrics.observe(p.Incident)
		r.Logger.Info("incident closed", "incident", p.ID, "outcome", p.Outcome, "reason", p.Reason, "target", p.Target.String())
		return End{}, nil
	}
}

// report tells the notifier. What goes wrong there is a line on the timeline and
// changes nothing about the incident.
func (r *Responder) report(ctx context.Context, p store.Progress) (End, error) {
	if _, told := p.Keys["report"]; told || r.Notifier == nil {
		return End{}, nil
	}
	e := incident.Event{Kind: "notified", Message: "report sent"}
	if err := r.notify(ctx, p.Incident); err != nil {
		if ctx.Err() != nil {
			return End{}, err
		}
		e = incident.Event{Kind: "notify_failed", Message: fmt.Sprintf("sending the report: %v", err)}
	}
	return End{}, r.record(ctx, p.ID, "report", store.Change{Event: e})
}

func (r *Responder) notify(ctx context.Context, inc incident.Incident) (err error) {
	ctx, cancel := context.WithTimeout(ctx, r.StageTimeout)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the notifier panicked: %v", v)
		}
	}()
	return r.Notifier.Notify(ctx, inc)
}

// record commits a transition before it is acted on.
func (r *Responder) record(ctx context.Context, id, key string, c store.Change) error {
	_, err := r.Store.Record(ctx, id, key, c)
	if err == nil {
		r.changed(id, c.To == incident.AwaitingApproval)
	}
	return err
}

// changed tells who looks on.
func (r *Responder) changed(id string, urgent bool) {
	if r.Watcher != nil {
		r.Watcher.Changed(id, urgent)
	}
}

// recordAct commits what was done. It happened, so this is tried for as long as
// it takes, and once more when kmend stops.
func (r *Responder) recordAct(ctx context.Context, id, key string, c store.Change) error {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := r.record(context.WithoutCancel(ctx), id, key, c)
		if err == nil || store.Refused(err) || ctx.Err() != nil {
			return err
		}
		r.Logger.Error("what was done waits to be recorded", "incident", id, "key", key, "error", err)
		r.metrics.storageErrors.Inc()
		_ = sleep(ctx, wait) // its error is ctx's, seen after one more try
	}
}
