package pagerduty

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/outbox"
	standin "github.com/kmend/kmend/test/pagerduty"
)

// shelf holds incidents and what was sent about them.
type shelf struct {
	mu     sync.Mutex
	incs   map[string]incident.Incident
	sent   map[string]Sent
	broken error // of KeepSent
	others int
}

func (s *shelf) Others(context.Context, string, time.Time) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.others, nil
}

func (s *shelf) put(inc incident.Incident) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.incs[inc.ID] = inc
}

func (s *shelf) kept(id string) Sent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent[id]
}

func (s *shelf) Get(_ context.Context, id string) (incident.Incident, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.incs[id], nil
}

func (s *shelf) Sent(_ context.Context, id string) (Sent, error) { return s.kept(id), nil }

func (s *shelf) KeepSent(_ context.Context, v Sent) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.sent[v.Incident] = v
	}
	return s.broken
}

func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

type bed struct {
	*testing.T
	*shelf
	pd   *standin.Server
	p    *Poster
	stop func()
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{T: t, shelf: &shelf{incs: map[string]incident.Incident{}, sent: map[string]Sent{}}, pd: standin.Start()}
	b.start(nil)
	t.Cleanup(func() {
		b.stop()
		b.pd.Close()
		for _, p := range b.pd.Problems() {
			t.Error(p)
		}
	})
	return b
}

// start starts a Poster; after stop it starts another one on the same shelf.
func (b *bed) start(change func(*Options)) {
	b.Helper()
	client, err := NewClient(Access{TokenFile: secretFile(b.T, standin.Token), From: standin.User, RoutingKeyFile: secretFile(b.T, standin.RoutingKey), APIURL: b.pd.URL + "/", EventsURL: b.pd.URL})
	if err != nil {
		b.Fatal(err)
	}
	o := DefaultOptions()
	o.Client, o.Incidents, o.Ledger, o.Metrics, o.DedupLabel = client, b.shelf, b.shelf, NewMetrics(prometheus.NewRegistry()), "pagerduty_key"
	o.Logger, o.Pace = slog.New(slog.NewTextHandler(b.Output(), nil)), outbox.Pace{Retry: 10 * time.Millisecond}
	if change != nil {
		change(&o)
	}
	if b.p, err = NewPoster(o); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); b.p.Run(ctx) }()
	b.stop = func() { cancel(); <-ended; client.Close() }
}

func (b *bed) until(what string, ok func() bool) {
	b.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("not within 20 s: %s\n%+v", what, b.pd.Incidents())
		}
	}
}

func (b *bed) notes(n int) []string {
	b.Helper()
	b.until(fmt.Sprint(n, " notes"), func() bool { i := b.pd.Incidents(); return len(i) > 0 && len(i[0].Notes) >= n })
	return b.pd.Incidents()[0].Notes
}

func keyOf(group string) string {
	sum := sha256.Sum256([]byte(group))
	return hex.EncodeToString(sum[:])
}

func waiting() incident.Incident {
	target := incident.Target{Namespace: "shop", Pod: "web-1", Container: "app"}
	return incident.Incident{ID: "20261121-120000.000-0a1b2c3d", DedupKey: group + "\npod|shop/web-1", Target: target, Phase: incident.AwaitingApproval, ReceivedAt: time.Now(),
		Alerts: []incident.Alert{{Labels: map[string]string{"alertname": "RequestsSlow"}}},
		Diagnosis: &incident.Diagnosis{Target: target, Node: incident.Node{Name: "n1"}, Verdict: incident.Confirmed, Window: incident.Window{Start: noon, Seconds: 3},
			Findings: []incident.Finding{{Cause: incident.CPUThrottled, Verdict: incident.Confirmed, Message: "CPU throttled 1299 of 3000 ms", Evidence: []string{"e1"}}}},
		Plan:      &incident.Plan{Runbook: "raise-cpu-limit", Steps: []incident.Step{{Name: "raise", Preview: &incident.Preview{Summary: "raise the CPU limit", Before: "0.3 CPU", After: "0.6 CPU"}}}},
		Decisions: []incident.Decision{{Effect: incident.RequireApproval, Policy: "prod", Rule: "ask", Reason: "production"}}}
}

func closed(inc incident.Incident, o incident.Outcome, reason string) incident.Incident {
	inc.Phase, inc.Outcome, inc.Reason, inc.ClosedAt = o.Phase(), o, reason, noon.Add(time.Minute)
	return inc
}
