package respond

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/trace"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

var (
	// ErrFull: too many incidents are open; the sender has to try again later.
	ErrFull = store.ErrFull
	// ErrStopped: this Responder takes no more notifications.
	ErrStopped = errors.New("kmend is stopping")
)

// Ingest commits a notification, one incident a target, and starts a workflow
// for each new one. When it returns nil the alerts are on disk. ErrFull means
// that it would open incidents and opened none; what it says of the others is
// taken. Any other error means that nothing of it was.
func (r *Responder) Ingest(ctx context.Context, n incident.Notification) error {
	err := r.ingest(ctx, n)
	result := "accepted"
	switch {
	case errors.Is(err, ErrFull):
		result = "full"
	case err != nil:
		result = "error"
	}
	r.metrics.notifications.WithLabelValues(result).Inc()
	return err
}

func (r *Responder) ingest(ctx context.Context, n incident.Notification) error {
	if r.stopped() {
		return ErrStopped
	}
	seeds := r.split(n)
	if len(seeds) == 0 {
		return nil
	}
	_, err := r.take(ctx, seeds)
	return err
}

// take commits seeds and goes on with what they open.
func (r *Responder) take(ctx context.Context, seeds []store.Seed) ([]store.Ingested, error) {
	done, err := r.Store.Ingest(ctx, seeds, r.QueueLimit)
	for _, got := range done { // with ErrFull too: an alert may have resolved
		r.metrics.seeds.WithLabelValues(resultOf(got)).Inc()
		if got.ID != "" {
			r.changed(got.ID, false)
		}
		switch {
		case got.New:
			r.metrics.open.Inc()
			r.origins.put(got.ID, trace.SpanContextFromContext(ctx))
			r.launch(got.ID)
		case got.Superseded:
			r.running.interrupt(got.ID, store.ErrClosed)
			r.bells.ring(got.ID)
		}
	}
	return done, err
}

func resultOf(got store.Ingested) string {
	switch {
	case got.Refused:
		return "refused"
	case got.Extends:
		return "extended"
	case got.New:
		return "new"
	case got.Superseded:
		return "superseded"
	case got.Known:
		return "known"
	case got.ID == "":
		return "unknown"
	}
	return "repeated"
}

// split makes one seed a target. The alerts without a target are one seed too:
// an alert that cannot be measured is an incident that says so.
func (r *Responder) split(n incident.Notification) []store.Seed {
	var seeds []store.Seed
	at := map[string]int{}
	for _, a := range n.Alerts {
		if a.Fingerprint == "" {
			a.Fingerprint = fingerprint(a.Labels)
		}
		t, ok, why := r.TargetOf(a)
		if !ok {
			t = incident.Target{}
			why = or(why, "the alert names nothing that can be measured")
		} else {
			why = ""
		}
		key := n.GroupKey + "\n" + t.Key() // a group key quotes its line breaks
		i, there := at[key]
		if !there {
			i = len(seeds)
			at[key] = i
			seeds = append(seeds, store.Seed{DedupKey: key, Target: t, NoTarget: why, LeftOut: n.TruncatedAlerts, ExtendWithin: r.ExtendWithin,
				Source: fmt.Sprintf("%s/%s", n.Source, n.Receiver)})
		}
		seeds[i].Alerts = append(seeds[i].Alerts, a)
	}
	return seeds
}

// fingerprint names an alert by its labels, for senders that do not.
func fingerprint(labels map[string]string) string {
	b, err := json.Marshal(labels) // sorted by key
	if err != nil {
		panic("respond: labels do not marshal: " + err.Error()) // strings only
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}
