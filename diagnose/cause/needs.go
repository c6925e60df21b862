package cause

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kmend/kmend/incident"
)

// needs says which probes a cause is measured by: without one of them it is not
// measured, and nothing is clean.
var needs = map[string][]incident.Cause{
	"threads":  incident.Causes(),
	"locks":    {incident.LockKernel},
	"futex":    {incident.LockUser},
	"cgroup":   {incident.CPUThrottled},
	"tcp":      {incident.NetRetransmit, incident.NetPeerSlow},
	"disk":     {incident.DiskLatency},
	"memory":   {incident.MemReclaim, incident.MemOOM},
	"steal":    {incident.CPUSteal},
	"postgres": {incident.DBLockWait},
	"jvm":      {incident.JVMGCPause},
	"profile":  {}, // it only says more about cpu.busy
}

// recorded are the causes that the flight recorder measures without their probe.
var recorded = []incident.Cause{incident.MemOOM, incident.DiskLatency, incident.NetRetransmit}

// notMeasured lists the causes that a probe which did not work, or was not asked,
// leaves open.
func notMeasured(m incident.Measurement) (open []incident.Cause) {
	unknown := m.Window.Recorded && read(m).retransmitOpen()
	for _, c := range incident.Causes() {
		for probe, causes := range needs {
			known := worked(m, probe) || m.Window.Recorded && probe != "threads" && worked(m, "recorder") && slices.Contains(recorded, c) && (c != incident.NetRetransmit || !unknown)
			if slices.Contains(causes, c) && !known && !slices.Contains(open, c) {
				open = append(open, c)
			}
		}
	}
	return open
}

func worked(m incident.Measurement, probe string) bool {
	return slices.ContainsFunc(m.Probes, func(p incident.ProbeStatus) bool {
		return p.Name == probe && p.Status == incident.ProbeOK && p.Lost == 0
	})
}

// incomplete says why what is not over its threshold is not clean either; empty
// when everything was measured.
func incomplete(m incident.Measurement) string {
	for _, p := range m.Probes {
		if causes, known := needs[p.Name]; known && len(causes) == 0 {
			continue
		}
		switch {
		case p.Status != incident.ProbeOK:
			return probeTrouble(p) + leaves(p.Name)
		case p.Lost > 0:
			return fmt.Sprintf("the probe %s lost %d events", p.Name, p.Lost) + leaves(p.Name)
		}
	}
	if open := notMeasured(m); len(open) > 0 {
		return "not measured: " + list(open)
	}
	return ""
}

func leaves(probe string) string {
	if len(needs[probe]) == 0 {
		return ""
	}
	return "; not measured: " + list(needs[probe])
}

func list(causes []incident.Cause) string {
	words := make([]string, len(causes))
	for i, c := range causes {
		words[i] = string(c)
	}
	return strings.Join(words, ", ")
}
