package agent

import (
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/bpf/threads"
	"github.com/kmend/kmend/diagnose/agent/cgroups"
	"github.com/kmend/kmend/incident"
)

func evidenceOf(m incident.Measurement, metric string) (out []incident.Evidence) {
	for _, e := range m.Evidence {
		if e.Metric == metric {
			out = append(out, e)
		}
	}
	return out
}

// Of a group that a process shares, what it did not use is others'; a thread that
// ended counts as one that lives; a group that is gone is named by its id.
func TestOthers(t *testing.T) {
	const second = uint64(time.Second)
	onCPU := func(ns uint64) (s [threads.NumStates]uint64) { s[0] = ns; return s }
	s := seen{
		names:  map[uint64]string{1: "/", 5: "/shared", 6: "/noisy\x1b[31m"},
		window: window{scope: scope{what: probe.Target{PIDs: []int{7}}}},
		result: threads.Result{
			Window:  2 * time.Second,
			CPUs:    2,
			Threads: []threads.Thread{{TID: 7, PID: 7, CgroupID: 5, WallNS: 2 * second, StateNS: onCPU(second)}},
			Ended:   []threads.GroupTotal{{CgroupID: 5, Threads: 1, WallNS: second / 2, StateNS: onCPU(second / 2)}},
			Holders: []threads.Holder{{CgroupID: 5, OnCPUNS: 2 * second}, {CgroupID: 6, OnCPUNS: second}, {CgroupID: 9, OnCPUNS: second / 5}, {CgroupID: 0, OnCPUNS: second / 10}, {CgroupID: 1, OnCPUNS: 10}},
			IdleNS:  second / 2,
			Lost:    3,
		},
	}
	n, err := cgroups.Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	s.window.node = n
	m := s.measurement(incident.Node{CPUs: 64})
	if got := evidenceOf(m, "cpu_others"); len(got) != 1 || got[0].Value != 0.9 || got[0].Lost != 3 {
		t.Errorf("others %+v, want 0.9 CPUs", got)
	}
	want := []struct {
		path string
		cpus float64
	}{{"/noisy?[31m", 0.5}, {"/shared", 0.25}, {"id:9", 0.1}, {"other groups", 0.05}}
	got := evidenceOf(m, "cpu_holder")
	if len(got) != len(want) {
		t.Fatalf("holders %+v, want %+v", got, want)
	}
	for i, w := range want {
		if got[i].Subject != w.path || got[i].Value != w.cpus {
			t.Errorf("holder %+v, want %+v", got[i], w)
		}
	}
	if m.Node.CPUs != 2 || m.Ledger.Threads != 2 || m.Ledger.WallMS != 2500 || m.Ledger.States[incident.OnCPU] != 1500 {
		t.Errorf("%d CPUs, ledger %+v", m.Node.CPUs, m.Ledger)
	}
}
