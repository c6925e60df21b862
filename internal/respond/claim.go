package respond

import (
	"context"
	"fmt"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// claims is the bell that rings when an incident gives its target back.
const claims = "claims"

// occasions are why a target is measured again before anything is changed.
var occasions = map[string]string{
	"again":    "another incident was at work on it",
	"approved": "the measurement got old while a person was asked",
}

// claim takes the target for this incident. Who had to wait for another one
// measures again: what the other did may have been the cure.
func (r *Responder) claim(ctx context.Context, p store.Progress) (End, error) {
	if p.Test {
		return End{}, nil // it changes nothing, and keeps nobody from changing something
	}
	things := thingsOf(p)
	for {
		free, closed := r.bells.listen(claims), r.bells.listen(p.ID)
		holder, err := r.Store.Claim(ctx, p.ID, things)
		if err != nil {
			return End{}, err
		}
		if holder == "" {
			break
		}
		err = r.record(ctx, p.ID, "waiting", store.Change{Event: incident.Event{Kind: "waiting",
			Message: "waiting for incident " + holder + ", which is at work on the same target", Fields: map[string]string{"incident": holder}}})
		if err != nil {
			return End{}, err
		}
		select {
		case <-free:
		case <-closed:
		case <-time.After(time.Second): // a bell that was missed
		case <-ctx.Done():
			return End{}, context.Cause(ctx)
		}
	}
	p, err := r.Store.Progress(ctx, p.ID)
	if err != nil {
		return End{}, err
	}
	if _, waited := p.Keys["waiting"]; !waited {
		return End{}, nil
	}
	return r.measureAgain(ctx, p, "again")
}

// measureAgain replaces the diagnosis by a new one, once for each occasion; what
// the kernel no longer confirms ends the incident.
func (r *Responder) measureAgain(ctx context.Context, p store.Progress, occasion string) (End, error) {
	if _, done := p.Keys["diagnosed/"+occasion]; done {
		return verdict(*p.Diagnosis), nil
	}
	d, err := r.measure(ctx, p.Aim(), r.Window, func() error {
		return r.record(ctx, p.ID, "measuring/"+occasion, store.Change{Event: incident.Event{
			Kind: "measuring", Message: fmt.Sprintf("measuring %s again for %s: %s", p.Aim(), r.Window, occasions[occasion])}})
	})
	if err != nil {
		return End{}, err
	}
	d.Investigation = p.Diagnosis.Investigation // how kmend came here has not changed
	return verdict(d), r.keepDiagnosis(ctx, p, "diagnosed/"+occasion, d)
}

// thingsOf names what an incident wants to change: what kmend asked about, with
// a pod taken whole, and the cgroup that was measured, because two alerts may
// call one thing by different names.
func thingsOf(p store.Progress) []string {
	t := p.Aim()
	t.Container = ""
	things := []string{t.Key()}
	if m := p.Diagnosis.Target; m.Cgroup != "" {
		node := or(p.Diagnosis.Node.Name, m.Node)
		things = append(things, incident.Target{Node: node, Cgroup: m.Cgroup}.Key())
	}
	return things
}
