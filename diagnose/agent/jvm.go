package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/kmend/kmend/bpf/jvm"
	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/incident"
)

// topMachines are the virtual machines that are reported, those with most pauses.
const topMachines = 8

// machines is the instrument of jvm.gc_pause. Its evidence is listed at the top of
// diagnose/cause/jvm.go.
type machines struct{ probe *jvm.Probe }

func loadMachines(m *probe.Members) (measurer, error) {
	p, err := jvm.Load(jvm.DefaultOptions(), m)
	if err != nil {
		return nil, err
	}
	return machines{p}, nil
}

func (m machines) Close() error { return m.probe.Close() }

func (m machines) Measure(ctx context.Context, s subject, window time.Duration) (reading, error) {
	r, err := m.probe.Measure(ctx, s.proc, s.pids(), window)
	if err != nil {
		return reading{}, err
	}
	if len(r.JVMs) == 0 {
		return reading{idle: "no process of the target is a Java virtual machine", lost: r.Lost}, nil
	}
	out := reading{lost: r.Lost}
	for _, j := range worstMachines(r.JVMs) {
		out.evidence = append(out.evidence, machineEvidence(j)...)
		if j.Unprobed != "" {
			out.idle = fmt.Sprintf("virtual machine %d: %s", j.PID, printable(j.Unprobed))
		} else if j.Unread != "" {
			out.idle = fmt.Sprintf("virtual machine %d: %s", j.PID, printable(j.Unread))
		}
	}
	return out, nil
}

func worstMachines(all []jvm.JVM) []jvm.JVM {
	worst := func(j jvm.JVM) uint64 { return max(j.Pauses.NS, j.Counted.NS, j.Stalls.NS) }
	sorted := slices.SortedStableFunc(slices.Values(all), func(a, b jvm.JVM) int { return cmp.Compare(worst(b), worst(a)) })
	return sorted[:min(len(sorted), topMachines)]
}

func machineEvidence(j jvm.JVM) (out []incident.Evidence) {
	subject := fmt.Sprintf("%d %s", j.PID, j.Collector)
	add := func(metric string, value float64, unit string) {
		out = append(out, incident.Evidence{Metric: metric, Subject: subject, Value: value, Unit: unit})
	}
	if j.Unprobed == "" {
		add("gc_pause", millis(j.Pauses.NS), "ms")
		add("gc_pauses", float64(j.Pauses.Count), "pauses")
		add("gc_longest", millis(j.Pauses.Longest), "ms")
		add("gc_full", float64(j.Full), "collections")
		add("safepoint_other", millis(j.Safepoints.NS), "ms")
		if j.HeapBefore > 0 {
			add("heap_before", float64(j.HeapBefore>>20), "MiB")
			add("heap_after", float64(j.HeapAfter>>20), "MiB")
		}
	}
	if j.Unread == "" {
		add("gc_counted", millis(j.Counted.NS), "ms")
		add("gc_counted_pauses", float64(j.Counted.Count), "pauses")
		if j.Collecting {
			add("gc_under_way", 1, "collections")
		}
	}
	add("gc_stall", millis(j.Stalls.NS), "ms")
	add("gc_stalls", float64(j.Stalls.Count), "stalls")
	add("gc_stall_longest", millis(j.Stalls.Longest), "ms")
	add("application_cpu", millis(j.AppNS), "ms")
	add("collector_cpu", millis(j.CollectorNS), "ms")
	add("collector_cpu_stalled", millis(j.StalledNS), "ms")
	return out
}
