package respond

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
	"github.com/kmend/kmend/test/postgres"
	"github.com/kmend/kmend/webhook"
)

// soak asks for the long tests: make soak and make crashes.
const soak = "KMEND_SOAK"

// storm is how much comes in: ten alerts a notification, each target many times.
func storm() (alerts, targets int) {
	if os.Getenv(soak) != "" {
		return 10_000, 500
	}
	return 1_000, 50
}

func TestStorm(t *testing.T) {
	t.Parallel()
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "kmend.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	testStorm(t, s)
}

// TestStormOnReplicas sends every notification to one of two replicas, or to both,
// as two Alertmanagers do.
func TestStormOnReplicas(t *testing.T) {
	t.Parallel()
	c := onPostgres(postgres.Start(t))(t)
	var stores []*store.Store
	for range 2 {
		s, err := c.open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		stores = append(stores, s)
	}
	testStorm(t, stores...)
}

// testStorm posts the storm to the webhook and tries again as Alertmanager does.
// Every target is one incident that comes to its end, and none is lost.
func testStorm(t *testing.T, stores ...*store.Store) {
	alerts, targets := storm()
	var doors []string
	acted := sync.Map{} // how often a target was acted on
	for i, s := range stores {
		b := startOn(t, s, stormStages(&acted), func(o *Options) {
			o.ExecutorID, o.SweepInterval = fmt.Sprint("r", i), 5*time.Second
		})
		o := webhook.DefaultOptions()
		o.Metrics = webhook.NewMetrics(prometheus.NewRegistry())
		h, err := webhook.NewAlertmanager(b, o)
		if err != nil {
			t.Fatal(err)
		}
		door := httptest.NewServer(h)
		t.Cleanup(door.Close)
		doors = append(doors, door.URL)
	}
	began := time.Now()
	var wg sync.WaitGroup
	var refused, next atomic.Int64
	for range 16 {
		wg.Go(func() {
			for n := next.Add(1) - 1; n < int64(alerts/10); n = next.Add(1) - 1 {
				body := stormBody(t, int(n), targets)
				for tries := 0; post(t, doors[rand.IntN(len(doors))], body)/100 != 2; tries++ {
					refused.Add(1)
					time.Sleep(50 * time.Millisecond)
					if tries == 100 {
						t.Error("a notification was refused a hundred times")
						return
					}
				}
			}
		})
	}
	wg.Wait()
	taken := time.Since(began)
	for until := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		open, err := stores[0].Waiting(t.Context())
		if err != nil || time.Now().After(until) {
			t.Fatalf("open: %v, %v", open, err)
		}
		if len(open) == 0 {
			break
		}
	}
	t.Logf("%d alerts about %d targets: taken in %s with %d refusals, all closed after %s",
		alerts, targets, taken.Round(time.Millisecond), refused.Load(), time.Since(began).Round(time.Millisecond))
	if taken > time.Minute {
		t.Errorf("taking them in took %s, want less than a minute", taken)
	}
	list, err := stores[0].List(t.Context(), store.Filter{})
	if err != nil || len(list) != targets {
		t.Errorf("%d incidents for %d targets, %v", len(list), targets, err)
	}
	roots := 0
	for _, inc := range list {
		checkTimeline(t, inc)
		if inc.Parent != nil {
			continue
		}
		if roots++; inc.Parts == nil || inc.Parts.Count != targets-1 || inc.Parts.Open != 0 {
			t.Errorf("%s is part of none, and %+v are parts of it", inc.Target, inc.Parts)
		}
	}
	if roots != 1 {
		t.Errorf("%d incidents are part of none; all have the same cause", roots)
	}
	for _, inc := range list {
		if inc.Outcome != incident.Fixed {
			t.Errorf("%s: %s (%s)", inc.Target, inc.Outcome, inc.Reason)
		}
		if n, _ := acted.Load(inc.Target.Cgroup); n == nil || n.(*atomic.Int64).Load() != 2 {
			t.Errorf("%s was acted on in %v steps, want 2", inc.Target, n)
		}
	}
}

func stormStages(acted *sync.Map) *stages {
	return &stages{apply: func(_ context.Context, p incident.Plan, _ int) (incident.Execution, error) {
		n, _ := acted.LoadOrStore(p.Target.Cgroup, &atomic.Int64{})
		n.(*atomic.Int64).Add(1)
		return incident.Execution{Result: "applied", State: map[string]string{"quota": "30000"}}, nil
	}}
}

// stormBody is the nth notification: ten alerts of one group.
func stormBody(t *testing.T, n, targets int) []byte {
	t.Helper()
	type alert struct {
		Status      string            `json:"status"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
		StartsAt    time.Time         `json:"startsAt"`
		Fingerprint string            `json:"fingerprint"`
	}
	var list []alert
	for i := range 10 {
		cgroup := fmt.Sprintf("/storm/%d", (n*10+i)%targets)
		list = append(list, alert{"firing", map[string]string{"alertname": "CPUThrottlingHigh", "cgroup": cgroup}, map[string]string{},
			time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), fmt.Sprintf("%016x", (n*10+i)%targets)})
	}
	b, err := json.Marshal(map[string]any{"version": "4", "groupKey": `{}:{alertname="CPUThrottlingHigh"}`, "status": "firing", "receiver": "kmend",
		"groupLabels": map[string]string{}, "commonLabels": map[string]string{}, "commonAnnotations": map[string]string{}, "externalURL": "http://am", "alerts": list})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func post(t *testing.T, door string, body []byte) (status int) {
	r, err := http.Post(door, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0
	}
	defer r.Body.Close()
	return r.StatusCode
}
