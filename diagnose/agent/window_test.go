package agent

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kmend/kmend/diagnose/cause"
	"github.com/kmend/kmend/incident"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func measure(t *testing.T, a *Agent, r Request) incident.Measurement {
	t.Helper()
	m, err := a.Measure(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMeasureAddsUpAndCites(t *testing.T) {
	l := newLab(t)
	dir := l.group("target", 262144, 0.4)
	l.group("target/child", 1024, 0)
	l.load([]string{dir}, "-mode", "bursty", "-threads", "3")
	l.load([]string{filepath.Join(dir, "child")}, "-mode", "fork", "-threads", "1")
	var stages []Stage
	a := newAgent(t, nil)
	m, err := a.Measure(t.Context(), Request{Target: incident.Target{Cgroup: dir}, Window: time.Second}, func(p Progress) { stages = append(stages, p.Stage) })
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, ms := range m.Ledger.States {
		sum += ms
	}
	if math.Abs(sum-m.Ledger.WallMS) > 0.01*m.Ledger.WallMS {
		t.Errorf("ledger sums to %.1f of %.1f ms", sum, m.Ledger.WallMS)
	}
	if len(m.Ledger.Groups) < 2 {
		t.Errorf("groups %+v, want the target and its child", m.Ledger.Groups)
	}
	for _, g := range m.Ledger.Groups {
		if !strings.HasPrefix(g.Cgroup, "/kmend-agent-") {
			t.Errorf("group is named %q", g.Cgroup)
		}
	}
	if len(m.Ledger.Top) == 0 || len(m.Ledger.Top) > topThreads {
		t.Errorf("%d top threads", len(m.Ledger.Top))
	}
	if want := []Stage{Resolved, Measuring, Measured}; len(stages) != 3 || stages[0] != want[0] || stages[1] != want[1] || stages[2] != want[2] {
		t.Errorf("stages %v, want %v", stages, want)
	}
	if m.Cost.CPUMS <= 0 || m.Cost.WallMS < 1000 {
		t.Errorf("cost %+v", m.Cost)
	}
	if d := cause.Diagnose(m); d.Verdict == incident.Inconclusive && !strings.Contains(d.Findings[0].Message, "waited") {
		t.Errorf("%+v", d.Findings)
	}
}

// On v1 any hierarchy names processes; their quota is in another one.
func TestTargetInAnotherHierarchy(t *testing.T) {
	l := newLab(t)
	if l.node.Mode() == "v2" {
		t.Skip("cgroup v2 has one hierarchy; runs where v1 is mounted")
	}
	dir := l.group("target", 262144, 0.3)
	name := filepath.Base(l.root)
	for _, other := range []string{"/sys/fs/cgroup/systemd", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(other); err != nil {
			continue
		}
		t.Run(filepath.Base(other), func(t *testing.T) {
			l.t = t
			elsewhere := l.make(filepath.Join(other, name))
			l.load([]string{dir, elsewhere}, burners("1")...)
			d := cause.Diagnose(measure(t, newAgent(t, nil), Request{Target: incident.Target{Cgroup: elsewhere}, Window: time.Second}))
			f, ok := d.Finding(incident.CPUThrottled)
			if !ok || !strings.Contains(f.Message, name+"/target") {
				t.Errorf("%s: %+v, want throttled by the quota of the cpu group", d.Verdict, d.Findings)
			}
		})
	}
}

func TestTargetIsAPodOrAProcess(t *testing.T) {
	l := newLab(t)
	// A killed run may have left its groups.
	uid, id := fmt.Sprintf("5d3c7c0e-6f5e-4c57-9c2b-%012x", os.Getpid()), "0123456789abcdef"
	l.make(filepath.Join(l.root, "kubepods"))
	if l.cpu.V2 {
		l.write(filepath.Join(l.root), "cgroup.subtree_control", "+cpu")
		l.write(filepath.Join(l.root, "kubepods"), "cgroup.subtree_control", "+cpu")
	}
	pod := l.make(filepath.Join(l.root, "kubepods/pod"+uid))
	l.quota(pod, 0.3)
	container := l.make(filepath.Join(pod, id))
	p := l.load([]string{container}, burners("1")...)
	a := newAgent(t, nil)
	for _, target := range []incident.Target{
		{Namespace: "shop", Pod: "api", PodUID: uid, Container: "api", ContainerID: "containerd://" + id},
		{PID: p.Pid},
	} {
		m := measure(t, a, Request{Target: target, Window: time.Second})
		d := cause.Diagnose(m)
		f, ok := d.Finding(incident.CPUThrottled)
		if !ok || !strings.Contains(f.Message, "kubepods/pod"+uid) {
			t.Errorf("%s: %s %+v, want throttled by the pod's quota", target, d.Verdict, d.Findings)
		}
		if m.Target.Cgroup != container || m.Target.PID != target.PID {
			t.Errorf("%s: resolved to %+v, want cgroup %q", target, m.Target, container)
		}
	}
}

func TestTargetGoesAway(t *testing.T) {
	l := newLab(t)
	dir := l.group("target", 1024, 0)
	a := newAgent(t, nil)
	t.Run("process", func(t *testing.T) {
		p := l.load([]string{dir}, "-mode", "sleep", "-duration", "1200ms")
		m := measure(t, a, Request{Target: incident.Target{PID: p.Pid}, Window: 20 * time.Second})
		aborted(t, m, "ended during the window")
	})
	t.Run("cgroup", func(t *testing.T) {
		time.AfterFunc(time.Second, func() { _ = os.Remove(dir) })
		m := measure(t, a, Request{Target: incident.Target{Cgroup: dir}, Window: 20 * time.Second})
		aborted(t, m, "was removed during the window")
		_, err := a.Measure(t.Context(), Request{Target: incident.Target{Cgroup: dir}}, nil)
		if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "does not exist") {
			t.Errorf("a cgroup that is gone before: %v", err)
		}
	})
}

func aborted(t *testing.T, m incident.Measurement, reason string) {
	t.Helper()
	d := cause.Diagnose(m)
	if d.Verdict != incident.Inconclusive || !strings.Contains(d.Findings[0].Message, reason) {
		t.Errorf("%s %+v, want inconclusive with %q", d.Verdict, d.Findings, reason)
	}
	if m.Probes[0].Status != incident.ProbeAborted || m.Window.Seconds > 15 {
		t.Errorf("probe %+v after %.1f s, want aborted at once", m.Probes[0], m.Window.Seconds)
	}
}

func TestBudgetEndsAWindow(t *testing.T) {
	l := newLab(t)
	dir := l.group("target", 1024, 0)
	l.load([]string{dir}, "-mode", "sleep")
	a := newAgent(t, nil)
	go func() { // the work of others is not its cost
		for t.Context().Err() == nil {
			runtime.Gosched()
		}
	}()
	r := Request{Target: incident.Target{Cgroup: dir}, Window: 20 * time.Second, Budget: Budget{CPU: 600 * time.Millisecond}}
	m, err := a.Measure(t.Context(), r, func(p Progress) {
		for end := time.Now().Add(5 * time.Second); p.Stage == Measuring && time.Now().Before(end); { // work of its own
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	aborted(t, m, "over its budget")
	overBudget(t, a, 1, 0)
	r.Window = 500 * time.Millisecond
	if m := measure(t, a, r); m.Probes[0].Status != incident.ProbeOK {
		t.Errorf("a measurement within its budget: %+v", m.Probes)
	}
}

// A second measurement with the probe loaded costs the window and little more.
func TestCostOfALoadedAgent(t *testing.T) {
	l := newLab(t)
	dir := l.group("target", 262144, 0)
	l.load([]string{dir}, "-mode", "bursty", "-threads", "4")
	a := newAgent(t, nil)
	if err := a.Warm(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		m := measure(t, a, Request{Target: incident.Target{Cgroup: dir}, Window: 500 * time.Millisecond})
		t.Logf("cost %.0f ms CPU, %.0f ms beside the window", m.Cost.CPUMS, m.Cost.WallMS-1000*m.Window.Seconds)
		if m.Cost.CPUMS > 1000 || m.Cost.WallMS > 5000 {
			t.Errorf("cost %+v: the probe is loaded already", m.Cost)
		}
	}
}

func TestRefusals(t *testing.T) {
	l := newLab(t)
	dir := l.group("target", 1024, 0)
	p := l.load([]string{dir}, "-mode", "sleep")
	a := newAgent(t, func(o *Options) { o.MaxAtOnce = 1; o.CRISocket = "/nonexistent.sock" })
	for _, c := range []struct {
		r    Request
		kind error
		text string
	}{
		{Request{}, ErrInvalid, "names no pod, cgroup, process or systemd unit"},
		{Request{Target: incident.Target{Node: "n1"}}, ErrInvalid, "nothing to measure"},
		{Request{Target: incident.Target{Cgroup: dir}, Window: time.Hour}, ErrInvalid, "allowed: 100ms to 1m0s"},
		{Request{Target: incident.Target{Cgroup: dir}, Window: -1}, ErrInvalid, "allowed"},
		{Request{Target: incident.Target{Cgroup: dir}, Budget: Budget{CPU: -1}}, ErrInvalid, "negative"},
		{Request{Target: incident.Target{Cgroup: dir + "/../../../../etc"}}, ErrInvalid, "clean absolute path"},
		{Request{Target: incident.Target{Cgroup: "/etc"}}, ErrInvalid, "no cgroup"},
		{Request{Target: incident.Target{Cgroup: dir + "/cgroup.procs"}}, ErrInvalid, "not a directory"},
		{Request{Target: incident.Target{Cgroup: dir + "-not"}}, ErrNotFound, "does not exist"},
		{Request{Target: incident.Target{PID: 1 << 30}}, ErrNotFound, "process 1073741824 does not exist"},
		{Request{Target: incident.Target{PID: -1}}, ErrNotFound, "process -1 does not exist"},
		{Request{Target: incident.Target{Unit: "no-such-unit"}}, ErrNotFound, "does not run here"},
		{Request{Target: incident.Target{Unit: "../x"}}, ErrInvalid, "no unit name"},
		{Request{Target: incident.Target{PodUID: "5d3c7c0e-0000-4c57-9c2b-0d3a2b1c4e5f"}}, ErrNotFound, "does not run on this node"},
		{Request{Target: incident.Target{PodUID: "../../x"}}, ErrInvalid, "is none"},
		{Request{Target: incident.Target{Namespace: "a", Pod: "b"}}, ErrUnsupported, "--cri-socket"},
	} {
		_, err := a.Measure(t.Context(), c.r, nil)
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%+v: %v, want %v with %q", c.r, err, c.kind, c.text)
		}
	}
	var wg sync.WaitGroup
	started := make(chan struct{})
	wg.Go(func() {
		_, err := a.Measure(t.Context(), Request{Target: incident.Target{Cgroup: dir}, Window: time.Second}, func(p Progress) {
			if p.Stage == Measuring {
				close(started)
			}
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-started
	for target, text := range map[incident.Target]string{{Cgroup: dir}: "is being measured already", {PID: p.Pid}: "most at once"} {
		_, err := a.Measure(t.Context(), Request{Target: target}, nil)
		if !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), text) {
			t.Errorf("%v: %v, want busy with %q", target, err, text)
		}
	}
	wg.Wait()
}

// overBudget checks how many measurements were over which budget.
func overBudget(t *testing.T, a *Agent, cpu, memory float64) {
	t.Helper()
	for resource, want := range map[string]float64{overCPU: cpu, overMemory: memory} {
		if n := testutil.ToFloat64(a.metrics.overBudget.WithLabelValues(resource)); n != want {
			t.Errorf("%g measurements over their budget of %s, want %g", n, resource, want)
		}
	}
}

// What was spent is watched while it is spent.
func TestOverItsMemoryBudget(t *testing.T) {
	l := newLab(t)
	dir := l.group("target", 1024, 0)
	l.load([]string{dir}, "-mode", "sleep")
	a := newAgent(t, nil)
	r := Request{Target: incident.Target{Cgroup: dir}, Window: time.Second, Budget: Budget{Memory: 1}}
	m := measure(t, a, r)
	overBudget(t, a, 0, 1)
	if len(m.Probes) == 0 || m.Probes[0].Status != incident.ProbeAborted || !strings.Contains(m.Probes[0].Reason, "MiB of memory used") {
		t.Errorf("probes %+v, want aborted over the budget", m.Probes)
	}
	r.Budget.Memory = 0
	m = measure(t, a, r)
	if m.Probes[0].Status != incident.ProbeOK || m.Cost.MemoryBytes < 1<<20 {
		t.Errorf("probes %+v, cost %+v; the tables alone are more than a MiB", m.Probes, m.Cost)
	}
}
