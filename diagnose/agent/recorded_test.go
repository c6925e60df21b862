package agent

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kmend/kmend/diagnose/agent/cgroups"
	"github.com/kmend/kmend/diagnose/agent/recorder"
	"github.com/kmend/kmend/diagnose/cause"
	"github.com/kmend/kmend/incident"
)

// record runs a flight recorder beside an agent for one test.
func (l *lab) record() *Agent {
	l.t.Helper()
	o := recorder.DefaultOptions()
	o.Dir, o.Logger = l.cpu.Dir, slog.New(slog.DiscardHandler)
	rec, err := recorder.New(o)
	if err != nil {
		l.t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		if err := rec.Run(l.t.Context()); err != nil {
			l.t.Error(err)
		}
	})
	l.t.Cleanup(func() {
		reading.Wait()
		if err := rec.Close(); err != nil {
			l.t.Error(err)
		}
	})
	return newAgent(l.t, func(o *Options) { o.Recorder = rec })
}

// past asks about a time that is over and diagnoses the answer.
func (l *lab) past(a *Agent, dir string, since, until time.Time) (incident.Measurement, incident.Diagnosis) {
	l.t.Helper()
	m, err := a.Measure(l.t.Context(), Request{Target: incident.Target{Cgroup: dir}, Since: since, Until: until}, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	late := 100 * time.Millisecond
	if time.Since(until) < 2*time.Second {
		late = 2 * time.Second // the last bucket is not over
	}
	if !m.Window.Recorded || m.Window.Start.After(since.Add(100*time.Millisecond)) || m.Window.End().Before(until.Add(-late)) {
		l.t.Errorf("window %+v, asked for %s to %s", m.Window, since, until)
	}
	if n := evidence(m, "threads", "behind_own", ""); n != -1 {
		l.t.Errorf("the recorder does not know behind whom threads waited, and says %v ms", n)
	}
	d := cause.Diagnose(m)
	logFigures(l.t, d)
	return m, d
}

// evidence is one number of a measurement, -1 when it is not there.
func evidence(m incident.Measurement, probe, metric, subject string) float64 {
	for _, e := range m.Evidence {
		if e.Probe == probe && e.Metric == metric && strings.HasSuffix(e.Subject, subject) {
			return e.Value
		}
	}
	return -1
}

// quotaStat is the kernel's own account.
func (l *lab) quotaStat(dir string) cgroups.Stat {
	l.t.Helper()
	quotas, err := l.node.Quotas([]string{dir})
	if err != nil || len(quotas) == 0 {
		l.t.Fatalf("no quota of %s: %v", dir, err)
	}
	return quotas[0].Stat
}

// A group is throttled for three seconds and then asleep; asked later, the cause
// is confirmed, marked as recorded, and its figures are the kernel's own.
func TestRecordedThrottling(t *testing.T) {
	l := newLab(t)
	dir := l.group("target", 262144, 0.3)
	a := l.record()
	time.Sleep(2500 * time.Millisecond) // the baseline
	since := time.Now()
	before := l.quotaStat(dir)
	_, _ = l.load([]string{dir}, "-mode", "burn", "-cpus", "1", "-duration", "3s").Wait()
	until := time.Now()
	after := l.quotaStat(dir)
	time.Sleep(3500 * time.Millisecond)

	m, d := l.past(a, dir, since, until)
	f, ok := d.Finding(incident.CPUThrottled)
	if !ok || !f.Recorded || !d.Window.Recorded {
		t.Fatalf("%s %+v; want cpu.throttled, recorded", d.Verdict, d.Findings)
	}
	throttled, kernel := m.Ledger.States[incident.Throttled], ms(after.Time-before.Time)
	t.Logf("throttled %.0f ms, the kernel says %.0f; %s", throttled, kernel, f.Message)
	// The loop is throttled with its group, but for its beginning and its end, and the
	// runtime's own threads in turn, for less.
	if n := float64(m.Ledger.Threads); throttled > n*(1.02*kernel+20) || throttled < 0.9*kernel-150 {
		t.Errorf("throttled for %.0f ms in %v threads, the kernel says %.0f", throttled, n, kernel)
	}
	// cpu.stat was read when the load had ended, the last bucket up to a second
	// later: a period or two may be counted in between, and the last throttle.
	for metric, kernel := range map[string]struct{ is, slack float64 }{
		"nr_periods":     {float64(after.Periods - before.Periods), 3},
		"nr_throttled":   {float64(after.Throttled - before.Throttled), 1},
		"throttled_time": {kernel, 110},
	} {
		if got := evidence(m, "cgroup", metric, "/target"); got < kernel.is-0.01 || got > kernel.is+kernel.slack {
			t.Errorf("%s is %v, cpu.stat says %v", metric, got, kernel.is)
		}
	}
	if q := evidence(m, "cgroup", "quota", "/target"); q != 0.3 {
		t.Errorf("quota %v", q)
	}
	if m.Baseline == nil || m.Baseline.States[incident.Throttled] != 0 || m.Baseline.Window.End().After(m.Window.Start.Add(time.Millisecond)) {
		t.Errorf("baseline %+v before %v", m.Baseline, m.Window.Start)
	}

	// Nothing is over a threshold in the idle time since, and it is not clean: most
	// causes were not measured.
	_, d = l.past(a, dir, until.Add(time.Second/2), time.Now())
	if d.Verdict != incident.Inconclusive {
		t.Errorf("an idle time is %s: %+v", d.Verdict, d.Findings)
	}
}

// The neighbour is named from the same buckets.
func TestRecordedSaturation(t *testing.T) {
	l := newLab(t)
	dir, noisy := l.group("target", targetWeight, 0), l.group("noisy", noisyWeight, 0)
	a := l.record()
	time.Sleep(1200 * time.Millisecond)
	noise := l.load([]string{noisy}, append(burners("2"), "-cpus", "1", "-duration", "4s")...)
	since := time.Now()
	_, _ = l.load([]string{dir}, append(burners("1"), "-cpus", "1", "-duration", "3s")...).Wait()
	until := time.Now()
	_, _ = noise.Wait()
	// An idle thread of the target keeps its CPUs known.
	l.load([]string{dir}, "-mode", "sleep", "-cpus", "1")
	time.Sleep(1500 * time.Millisecond)

	_, d := l.past(a, dir, since, until)
	f, ok := d.Finding(incident.CPUSaturated)
	if !ok || !f.Recorded || !strings.Contains(f.Message, "/noisy ") {
		t.Errorf("%s %+v; want cpu.saturated by /noisy, recorded", d.Verdict, d.Findings)
	}
}

// A process that was killed for its memory, asked about when it and its group are
// gone: named by the record alone.
func TestRecordedKill(t *testing.T) {
	l := newLab(t)
	dir := l.group("small", targetWeight, 0)
	memory, file, dirs := dir, "memory.max", []string{dir}
	if l.cpu.V2 {
		l.write(l.root, "cgroup.subtree_control", "+memory")
	} else {
		memory, file = l.make(filepath.Join("/sys/fs/cgroup/memory", filepath.Base(l.root))), "memory.limit_in_bytes"
		dirs = append(dirs, memory)
	}
	a := l.record()
	time.Sleep(1200 * time.Millisecond)
	l.write(memory, file, strconv.Itoa(16<<20))
	since := time.Now()
	p := l.load(dirs, "-mode", "hog", "-mb", "64", "-duration", "5s")
	state, err := p.Wait()
	if err != nil || state.Success() {
		t.Fatalf("it was not killed: %v, %v", state, err)
	}
	killed := time.Since(since)
	time.Sleep(1200 * time.Millisecond) // a group is named when it is first read
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	until := since.Add(max(killed, 2*time.Second))
	time.Sleep(time.Until(until.Add(3500 * time.Millisecond)))

	m, d := l.past(a, dir, since, until)
	f, ok := d.RootCause()
	if !ok || f.Cause != incident.MemOOM || !f.Recorded || !strings.Contains(f.Message, "("+strconv.Itoa(p.Pid)+")") || len(f.Evidence) == 0 {
		t.Fatalf("%s %+v; want mem.oom of %d, recorded", d.Verdict, d.Findings, p.Pid)
	}
	after := evidence(m, "recorder", "oom_victim", "("+strconv.Itoa(p.Pid)+")")
	if began := ms(since.Sub(m.Window.Start)); after < began-50 || after > began+ms(killed)+50 {
		t.Errorf("killed %v ms into the window, which began %v ms before; it had ended after %v", after, began, killed)
	}
	if slices.Contains(d.NotMeasured, incident.MemOOM) {
		t.Error("mem.oom is not measured")
	}
	// Nobody was killed afterwards.
	_, d = l.past(a, dir, until.Add(200*time.Millisecond), time.Now())
	if _, ok := d.Finding(incident.MemOOM); ok {
		t.Errorf("afterwards %+v", d.Findings)
	}
}

// What cannot be answered says what can.
func TestRecordedRefuses(t *testing.T) {
	l := newLab(t)
	dir := l.group("target", 1024, 0)
	a := l.record()
	time.Sleep(3200 * time.Millisecond)
	now := time.Now()
	for _, c := range []struct {
		name         string
		target       incident.Target
		since, until time.Time
		kind         error
		text         string
	}{
		{"too short", incident.Target{Cgroup: dir}, now.Add(-time.Second), now, ErrInvalid, "allowed: 2s to 15m"},
		{"too long", incident.Target{Cgroup: dir}, now.Add(-time.Hour), now, ErrInvalid, "allowed: 2s to 15m"},
		{"backwards", incident.Target{Cgroup: dir}, now, now.Add(-time.Minute), ErrInvalid, "allowed: 2s to 15m"},
		{"before it began", incident.Target{Cgroup: dir}, now.Add(-10 * time.Minute), now.Add(-8 * time.Minute), ErrInvalid, "the flight recorder has "},
		{"in the future", incident.Target{Cgroup: dir}, now.Add(time.Minute), now.Add(2 * time.Minute), ErrInvalid, "the flight recorder has "},
		{"a process", incident.Target{PID: 1}, now.Add(-2500 * time.Millisecond), now, ErrInvalid, "by cgroup, not by process"},
	} {
		_, err := a.Measure(t.Context(), Request{Target: c.target, Since: c.since, Until: c.until}, nil)
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v; want %q", c.name, err, c.text)
		}
	}
	_, err := newAgent(t, nil).Measure(t.Context(), Request{Target: incident.Target{Cgroup: dir}, Since: now.Add(-time.Minute)}, nil)
	if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "kmend-agent serve") {
		t.Errorf("without a recorder: %v", err)
	}
	// A cgroup that is gone is answered by its path.
	if m, err := a.Measure(t.Context(), Request{Target: incident.Target{Cgroup: l.root + "/never"}, Since: now.Add(-2500 * time.Millisecond)}, nil); err != nil || m.Ledger.WallMS != 0 {
		t.Errorf("a cgroup that never was: %+v, %v", m.Ledger, err)
	}
}
