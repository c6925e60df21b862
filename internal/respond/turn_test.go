package respond

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// Thirty incidents at once: no more than MaxPlans have the cluster asked at the same
// time, for their plans and by their guards, and all get their turn.
func TestPlansInTurn(t *testing.T) {
	t.Parallel()
	const incidents, most = 30, 4
	var asking, peak atomic.Int32
	ask := func() {
		n := asking.Add(1)
		for old := peak.Load(); n > old && !peak.CompareAndSwap(old, n); old = peak.Load() {
		}
		time.Sleep(50 * time.Millisecond)
		asking.Add(-1)
	}
	d := &stages{}
	d.preview = func(ctx context.Context, p incident.Plan) (incident.Plan, error) {
		ask()
		return (&stages{}).Preview(ctx, p)
	}
	d.decide = func(incident.Incident, incident.Plan) incident.Decision {
		ask()
		return incident.Decision{Effect: incident.Allow, DryRun: true, Policy: "test"}
	}
	b := start(t, d, func(o *Options) { o.MaxDiagnoses, o.MaxDiagnosesPerNode, o.MaxPlans = incidents, incidents, most })
	for i := range incidents {
		b.ingest(firing(fmt.Sprintf("/%d", i)))
	}
	for until := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		list, err := b.store.List(t.Context(), store.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		ended := 0
		for _, inc := range list {
			if inc.Outcome == incident.DryRun {
				ended++
			}
		}
		if ended == incidents {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("%d of %d have ended after a minute", ended, incidents)
		}
	}
	if n := peak.Load(); n != most {
		t.Errorf("at most %d asked at once, want %d", n, most)
	}
}
