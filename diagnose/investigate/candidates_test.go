package investigate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kmend/kmend/incident"
)

var cart = incident.Target{Namespace: "shop", Workload: "Deployment/cart"}

// cluster knows the pods of one deployment: NODE of cart-1, cart-2, ...
type cluster []string

func (c cluster) pods() (pods []incident.Target) {
	for n, node := range c {
		pods = append(pods, incident.Target{Namespace: "shop", Pod: fmt.Sprintf("cart-%d", n+1), Node: node})
	}
	return pods
}

func (cluster) Listed(context.Context) {}

func (c cluster) Pods(_ context.Context, t incident.Target) ([]incident.Target, error) {
	if t != cart || c == nil {
		return nil, NothingError("no pod of " + t.String() + " runs")
	}
	return c.pods(), nil
}

// forbidden is a cluster that does not let kmend look.
type forbidden struct{}

func (forbidden) Listed(context.Context) {}

func (forbidden) Pods(context.Context, incident.Target) ([]incident.Target, error) {
	return nil, errors.New("forbidden")
}

// last ranks the last pod first, and makes one up.
type last struct{ err error }

func (l last) Rank(_ context.Context, inc incident.Incident, pods []incident.Target) ([]incident.Target, string, error) {
	return []incident.Target{{Namespace: "kube-system", Pod: "etcd"}, pods[len(pods)-1]}, "by the errors of 5 minutes", l.err
}

// says answers for cart-N with the N-th word: a cause and its share in percent, or a verdict.
func says(words ...string) Measure {
	return func(_ context.Context, t incident.Target) (incident.Diagnosis, error) {
		var n int
		if _, err := fmt.Sscanf(t.Pod, "cart-%d", &n); err != nil {
			return incident.Diagnosis{}, fmt.Errorf("asked about %s", t)
		}
		var share float64
		cause, rest, _ := strings.Cut(words[n-1], "=")
		d := incident.Diagnosis{Target: t, Verdict: incident.Verdict(cause), Findings: []incident.Finding{{Verdict: incident.Verdict(cause), Message: cause}}}
		if _, err := fmt.Sscan(rest, &share); err == nil {
			d.Verdict = incident.Confirmed
			d.Findings[0] = incident.Finding{Verdict: incident.Confirmed, Cause: incident.Cause(cause), Share: share / 100, Message: cause}
		}
		return d, nil
	}
}

// Pods of one deployment are asked side by side, and what they have in common is one
// finding with its extent; the pod of the largest confirmed share is the one.
func TestCandidates(t *testing.T) {
	for name, tt := range map[string]struct {
		nodes   cluster
		words   []string
		ranker  Ranker
		max     int
		pod     string
		extent  string
		why     string
		verdict incident.Verdict
	}{
		"same cause on one node": {cluster{"n3", "n3", "n1"}, []string{"cpu.throttled=20", "cpu.throttled=60", "clean"}, nil, 5,
			"cart-2", "cpu.throttled: 2 of 3 pods, all on n3; the others do not agree: 1 clean", "of the 3 that were asked it has the largest confirmed share: 60% of cpu.throttled", incident.Confirmed},
		"same cause everywhere": {cluster{"n1", "n2"}, []string{"cpu.throttled=20", "cpu.throttled=10"}, nil, 5,
			"cart-1", "cpu.throttled: 2 of 2 pods, on 2 nodes", "order of their names", incident.Confirmed},
		"they disagree": {cluster{"n1", "n2", "n3"}, []string{"net.peer_slow=20", "disk.latency=40", "inconclusive"}, nil, 5,
			"cart-2", "disk.latency: 1 of 3 pods, on n2; the others do not agree: 1 inconclusive, 1 net.peer_slow", "40% of disk.latency", incident.Confirmed},
		"the suspicious ones": {cluster{"n1", "n2", "n3", "n4"}, []string{"clean", "cpu.busy=90", "cpu.busy=95", "cpu.busy=30"}, last{}, 2,
			"cart-4", "cpu.busy: 1 of the 2 pods that were measured, of 4 that run, on n4; the others do not agree: 1 clean", "by the errors of 5 minutes", incident.Confirmed},
		"no ranking": {cluster{"n1", "n2", "n3"}, []string{"cpu.busy=50", "clean", "cpu.busy=95"}, last{errors.New("status 500")}, 2,
			"cart-1", "cpu.busy: 1 of the 2 pods that were measured, of 3 that run, on n1; the others do not agree: 1 clean", "for Prometheus ranks none: status 500", incident.Confirmed},
		"all clean": {cluster{"n1", "n1"}, []string{"clean", "clean"}, nil, 5, "cart-1", "clean: 2 of 2 pods, all on n1", "none of the 2", incident.Clean},
		"clean, and one that says nothing": {cluster{"n1", "n2"}, []string{"clean", "inconclusive"}, nil, 5,
			"cart-2", "inconclusive: 1 of 2 pods, on n2; the others do not agree: 1 clean", "none of the 2", incident.Inconclusive},
	} {
		t.Run(name, func(t *testing.T) {
			i := investigator(t, func(o *Options) { o.Workloads, o.Ranker, o.MaxPods = tt.nodes, tt.ranker, tt.max })
			d, err := i.Investigate(t.Context(), incident.Incident{Target: cart}, says(tt.words...))
			if err != nil {
				t.Fatal(err)
			}
			v := d.Investigation
			aim := incident.Incident{Target: cart, Diagnosis: &d}.Aim()
			if d.Verdict != tt.verdict || aim.Pod != tt.pod || d.Target.Pod != tt.pod || v.Extent == nil || v.Extent.Message != tt.extent || !strings.Contains(v.Hops[0].Why, tt.why) {
				t.Errorf("%s of %s (aim %s), extent %+v, why %q", d.Verdict, d.Target.Pod, aim.Pod, v.Extent, v.Hops[0].Why)
			}
			if v.Extent.Of != "deployment shop/cart" || len(v.Extent.Asked) != min(tt.max, len(tt.nodes)) || v.Sources[0].Name != "kubernetes" {
				t.Errorf("extent %+v, sources %+v", v.Extent, v.Sources)
			}
		})
	}
}

// What nobody can find pods of is inconclusive, with the reason, and so is one whose
// cluster does not answer.
func TestNoCandidates(t *testing.T) {
	never := func(context.Context, incident.Target) (incident.Diagnosis, error) {
		return incident.Diagnosis{}, errors.New("measured")
	}
	i := investigator(t, func(o *Options) { o.Workloads = cluster(nil) })
	d, err := i.Investigate(t.Context(), incident.Incident{Target: cart}, never)
	if err != nil || d.Verdict != incident.Inconclusive || d.Findings[0].Message != "deployment shop/cart was not measured: no pod of deployment shop/cart runs" {
		t.Errorf("%+v, %v", d.Findings, err)
	}
	if s := d.Investigation.Sources; len(s) != 1 || s[0].Status != incident.SourceOK {
		t.Errorf("sources %+v", s)
	}
	i = investigator(t, func(o *Options) { o.Workloads = forbidden{} })
	d, err = i.Investigate(t.Context(), incident.Incident{Target: cart}, never)
	if s := d.Investigation.Sources; err != nil || len(s) != 1 || s[0].Status != incident.SourceFailed || s[0].Reason != "forbidden" {
		t.Errorf("sources %+v, %v", s, err)
	}
	i = investigator(t, func(o *Options) { o.Workloads = cluster{"n1"} })
	if _, err := i.Investigate(t.Context(), incident.Incident{Target: cart}, never); err == nil {
		t.Error("what has to be tried again is no answer")
	}
}

// Five pods take one window, not five.
func TestSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at atomic.Int32
		began := time.Now()
		i := investigator(t, func(o *Options) { o.Workloads = cluster{"a", "b", "c", "d", "e", "f", "g"} })
		_, err := i.Investigate(t.Context(), incident.Incident{Target: cart}, func(ctx context.Context, t incident.Target) (incident.Diagnosis, error) {
			at.Add(1)
			time.Sleep(3 * time.Second)
			return says("clean", "clean", "clean", "clean", "clean")(ctx, t)
		})
		if took := time.Since(began); err != nil || took != 3*time.Second || at.Load() != 5 {
			t.Errorf("%d pods in %s, %v", at.Load(), took, err)
		}
	})
}
