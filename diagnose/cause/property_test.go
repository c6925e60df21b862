package cause

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/kmend/kmend/incident"
	"pgregory.net/rapid"
)

func number() *rapid.Generator[float64] {
	return rapid.OneOf(rapid.Float64Range(0, 5000), rapid.Just(0.0), rapid.Float64(), rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), -1}))
}

// sane numbers, most of the time: a measurement with one NaN in it is cut short.
func sane() *rapid.Generator[float64] { return rapid.Float64Range(0, 5000) }

func measurement(t *rapid.T) incident.Measurement {
	num, wild := sane(), rapid.IntRange(0, 3).Draw(t, "wild") == 0
	if wild {
		num = number()
	}
	states := func(label string) map[incident.State]float64 {
		return rapid.MapOf(rapid.SampledFrom(incident.States()), num).Draw(t, label)
	}
	m := incident.Measurement{
		Target: incident.Target{Cgroup: rapid.SampledFrom([]string{"", "/sys/fs/cgroup/a"}).Draw(t, "cgroup")},
		Node:   incident.Node{CPUs: rapid.IntRange(-1, 8).Draw(t, "cpus")},
		Window: incident.Window{Seconds: rapid.OneOf(rapid.Just(3.0), num).Draw(t, "seconds")},
		Ledger: incident.Ledger{Threads: rapid.IntRange(0, 20).Draw(t, "threads"), States: states("states")},
	}
	for _, v := range m.Ledger.States {
		m.Ledger.WallMS += v
	}
	if wild && rapid.Bool().Draw(t, "off") {
		m.Ledger.WallMS = num.Draw(t, "wall")
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "top") {
		m.Ledger.Top = append(m.Ledger.Top, incident.ThreadLedger{TID: i, States: states("top states")})
	}
	metrics := []string{"active", "on_cpu", "throttled", "run_queue", "io", "cpu_others", "cpu_holder", "cpus_allowed",
		"active_threads", "quota", "nr_periods", "nr_throttled", "cpu_kmend", "behind_own", "behind_others", "behind_kmend", "other"}
	for range rapid.IntRange(0, 16).Draw(t, "evidence") {
		m.Evidence = append(m.Evidence, incident.Evidence{
			ID:      rapid.SampledFrom([]string{"e1", "e2", "e3", "e4", "e5", ""}).Draw(t, "id"),
			Probe:   rapid.SampledFrom([]string{"threads", "cgroup", "steal", "x"}).Draw(t, "probe"),
			Metric:  rapid.SampledFrom(metrics).Draw(t, "metric"),
			Subject: rapid.SampledFrom([]string{"", "/a", "/b"}).Draw(t, "subject"),
			Value:   num.Draw(t, "value"),
			Lost:    uint64(max(0, rapid.IntRange(-50, 2).Draw(t, "lost"))),
		})
	}
	if !wild {
		if rapid.Bool().Draw(t, "a quota that was hit") { // chance alone puts these together too rarely
			m.Evidence = append(m.Evidence,
				incident.Evidence{ID: "e6", Probe: "cgroup", Metric: "quota", Subject: "/q", Value: 0.5},
				incident.Evidence{ID: "e7", Probe: "cgroup", Metric: "nr_periods", Subject: "/q", Value: 30},
				incident.Evidence{ID: "e8", Probe: "cgroup", Metric: "nr_throttled", Subject: "/q", Value: 20})
		}
		m.Window.Seconds, m.Node.CPUs = 3, max(1, m.Node.CPUs)
		m.Probes = []incident.ProbeStatus{{Name: "threads", Status: incident.ProbeOK}}
		if rapid.Bool().Draw(t, "locks of Java") {
			m.Probes = append(m.Probes, incident.ProbeStatus{Name: "futex", Status: incident.ProbeOK})
			for i, metric := range []string{"java_lock_wait", "java_lock_contended", "java_lock_waiters", "java_lock_looks", "java_lock_handed", "java_lock_holder"} {
				m.Evidence = append(m.Evidence, incident.Evidence{
					ID: fmt.Sprintf("j%d", i), Probe: "futex", Metric: metric, Subject: "Java monitor 0x1 of java (1)", Value: num.Draw(t, metric),
				})
			}
		}
		for i := range m.Evidence {
			m.Evidence[i].Lost = 0
		}
		return m
	}
	for range rapid.IntRange(0, 3).Draw(t, "probes") {
		m.Probes = append(m.Probes, incident.ProbeStatus{
			Name:   rapid.SampledFrom([]string{"threads", "threads", "cgroup"}).Draw(t, "name"),
			Status: rapid.SampledFrom([]incident.ProbeState{"ok", "ok", "ok", "aborted", "unsupported", "?"}).Draw(t, "status"),
			Lost:   uint64(max(0, rapid.IntRange(-20, 2).Draw(t, "probe lost"))),
		})
	}
	return m
}

func TestDiagnoseHolds(t *testing.T) {
	seen := map[incident.Verdict]int{}
	holds := func(t *rapid.T) {
		m := measurement(t)
		d := Diagnose(m)
		seen[d.Verdict]++
		if len(d.Findings) == 0 || d.Verdict != d.Findings[0].Verdict {
			t.Fatalf("verdict %q of findings %+v", d.Verdict, d.Findings)
		}
		// What lost time, by share; then the target's own work; then doubts.
		kind := func(f incident.Finding) int {
			switch {
			case f.Verdict != incident.Confirmed:
				return 2
			case f.Cause == incident.CPUBusy:
				return 1
			}
			return 0
		}
		if !slices.IsSortedFunc(d.Findings, func(a, b incident.Finding) int {
			return cmp.Or(cmp.Compare(kind(a), kind(b)), cmp.Compare(b.Share, a.Share))
		}) {
			t.Fatalf("not in order: %+v", d.Findings)
		}
		for _, f := range d.Findings {
			checkFinding(t, m, d, f)
		}
		if _, err := json.Marshal(d); err != nil {
			t.Fatalf("marshal: %v", err)
		}
		if !reflect.DeepEqual(d, Diagnose(m)) && d.Window.Seconds != 0 {
			t.Fatal("the same measurement gave two diagnoses")
		}
	}
	for range 10 { // a hundred draws may miss a verdict by chance
		rapid.Check(t, holds)
		if testing.Short() || seen[incident.Confirmed] > 0 && seen[incident.Inconclusive] > 0 {
			return
		}
	}
	t.Errorf("verdicts %v: the generator tests nothing", seen)
}

func checkFinding(t *rapid.T, m incident.Measurement, d incident.Diagnosis, f incident.Finding) {
	if f.Share < 0 || f.Share > 1 || math.IsNaN(f.Share) || f.Message == "" || f.Evidence == nil {
		t.Fatalf("finding %+v", f)
	}
	if (f.Cause != "") != (f.Verdict == incident.Confirmed) || (f.Threshold != "") != (f.Verdict == incident.Confirmed) {
		t.Fatalf("cause and threshold belong to confirmed findings alone: %+v", f)
	}
	if f.Verdict == incident.Confirmed && (d.Verdict != incident.Confirmed || slices.ContainsFunc(m.Probes, func(p incident.ProbeStatus) bool {
		return p.Name == "threads" && (p.Status != incident.ProbeOK || p.Lost > 0)
	})) {
		t.Fatalf("confirmed on a bad measurement: %+v", d)
	}
	for _, id := range f.Evidence {
		if !slices.ContainsFunc(d.Evidence, func(e incident.Evidence) bool { return e.ID == id }) {
			t.Fatalf("evidence %q is not in the diagnosis", id)
		}
	}
}
