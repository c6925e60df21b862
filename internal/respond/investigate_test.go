package respond

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// leads goes from whatever the alert names to one other target.
type leads struct {
	to    incident.Target
	claim string // who the diagnosis says was measured, when it is not to
}

func (l leads) Investigate(ctx context.Context, inc incident.Incident, measure func(context.Context, incident.Target) (incident.Diagnosis, error)) (incident.Diagnosis, error) {
	first, err := measure(ctx, inc.Target)
	if err != nil {
		return first, err
	}
	d, err := measure(ctx, l.to)
	if err != nil {
		return d, err
	}
	if l.claim != "" {
		d.Target.Pod = l.claim
	}
	d.Investigation = &incident.Investigation{Root: 1, Hops: []incident.Hop{
		{Target: inc.Target, Via: incident.ViaAlert, Verdict: first.Verdict},
		{Target: l.to, Via: incident.ViaSocket, Verdict: d.Verdict, Cause: incident.CPUThrottled},
	}}
	return d, nil
}

var deep = incident.Target{Namespace: "shop", Pod: "stock-1"}

// What an investigation came to is what is planned for, claimed, changed and measured
// again; what the alert names is only measured.
func TestActsWhereTheInvestigationLeads(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var measured []string
	d := &stages{diagnose: func(_ context.Context, target incident.Target, _ time.Duration) (incident.Diagnosis, error) {
		mu.Lock()
		defer mu.Unlock()
		measured = append(measured, target.String())
		return throttled(target), nil
	}}
	var acted incident.Target
	d.apply = func(_ context.Context, p incident.Plan, _ int) (incident.Execution, error) {
		acted = p.Target
		return incident.Execution{Result: "applied"}, nil
	}
	b := start(t, d, func(o *Options) { o.Investigator = leads{to: deep} })
	b.ingest(firing("/a"))
	inc := b.reported()
	if inc.Outcome != incident.Fixed || acted != deep {
		t.Errorf("outcome %s (%s), acted on %v", inc.Outcome, inc.Reason, acted)
	}
	if want := []string{"cgroup /a", deep.String(), deep.String()}; !slices.Equal(measured, want) {
		t.Errorf("measured %q, want %q", measured, want)
	}
	var said []string
	for _, e := range inc.Timeline {
		if e.Kind == "measuring" {
			said = append(said, e.Message)
		}
	}
	if want := []string{"measuring cgroup /a for 1ms", "measuring pod shop/stock-1 for 1ms"}; !slices.Equal(said, want) {
		t.Errorf("the timeline says %q, want %q", said, want)
	}
	p := store.Progress{Incident: inc}
	if things := thingsOf(p); !slices.Contains(things, deep.Key()) || slices.Contains(things, (incident.Target{Cgroup: "/a"}).Key()) {
		t.Errorf("claims %q", things)
	}
}

// An agent that answers about something else than it was asked about moves nothing.
func TestRefusesAnotherThanTheInvestigated(t *testing.T) {
	t.Parallel()
	d := &stages{}
	b := start(t, d, func(o *Options) { o.Investigator = leads{to: deep, claim: "stock-2"} })
	b.ingest(firing("/a"))
	inc := b.reported()
	if inc.Outcome != incident.Denied || slices.Contains(d.notes(), "apply 0") {
		t.Errorf("outcome %s (%s) after %q", inc.Outcome, inc.Reason, d.notes())
	}
}
