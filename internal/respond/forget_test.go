package respond

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
	"github.com/kmend/kmend/test/postgres"
)

// What ended is forgotten with its workflows; what waits goes on.
func TestForget(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		testForget(t, start(t, askAbout("/open"), alone))
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		s, err := store.OpenPostgres(t.Context(), postgres.Start(t).Database("forget"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		testForget(t, startOn(t, s, askAbout("/open"), alone))
	})
}

// alone: no incident is a part of another, which would keep it.
func alone(o *Options) { o.CorrelateWithin = 0 }

// askAbout are stages that ask a person about one cgroup.
func askAbout(cgroup string) *stages {
	return &stages{decide: func(inc incident.Incident, p incident.Plan) incident.Decision {
		if inc.Target.Cgroup == cgroup {
			return askPerson(inc, p)
		}
		return incident.Decision{Effect: incident.Allow}
	}}
}

func testForget(t *testing.T, b bench) {
	runs := func() (ids []string) {
		t.Helper()
		all, err := dbos.ListWorkflows(b.engine)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range all {
			ids = append(ids, w.ID)
		}
		slices.Sort(ids)
		return ids
	}
	const n = forgetBatch + 3 // two batches
	for i := range n {
		b.ingest(firing("/" + strings.Repeat("x", i+1)))
	}
	b.ingest(firing("/open"))
	all := func() []incident.Incident {
		t.Helper()
		list, err := b.store.List(t.Context(), store.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	var open string
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		ended := 0
		for _, inc := range all() {
			if hasKind(inc, "notified") {
				ended++
			} else if inc.Phase == incident.AwaitingApproval {
				open = inc.ID
			}
		}
		if ended == n && open != "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d have ended", ended, n)
		}
	}
	if got, err := b.forget(t.Context(), time.Now().Add(-time.Minute)); got != 0 || err != nil || len(runs()) != n+1 {
		t.Fatalf("%d are forgotten of what has just ended, %d workflows are left, %v", got, len(runs()), err)
	}
	got := 0
	for deadline := time.Now().Add(time.Minute); got < n && time.Now().Before(deadline); { // the last workflows may be about to end
		more, err := b.forget(t.Context(), time.Now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		got += more
	}
	if left := all(); len(left) != 1 || left[0].ID != open || !slices.Equal(runs(), []string{open}) {
		t.Errorf("%d incidents are left and the workflows %v; want %s", len(left), runs(), open)
	}
	if err := b.Approve(t.Context(), incident.Approval{Incident: open, Plan: all()[0].Plan.Digest(), Approve: true, By: "ada", Name: "ada"}); err != nil {
		t.Fatal(err)
	}
	if inc := b.reported(); inc.Outcome != incident.Fixed {
		t.Errorf("it ended as %s: %s", inc.Outcome, inc.Reason)
	}
}
