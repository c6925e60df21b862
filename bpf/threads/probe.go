package threads

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/kmend/kmend/bpf/probe"
)

// Probe is the loaded program, detached outside of a window.
type Probe struct {
	objs   threadsObjects
	ended  *ebpf.Memory // of the map ended_threads
	window uint32       // number of the last one
	turns  probe.Turns
}

// The contention tracepoints came last, in 5.19.
var tracepoints = []string{
	"sched_switch", "sched_wakeup", "sched_wakeup_new", "sched_migrate_task", "contention_begin", "contention_end", "cgroup_attach_task",
	"mm_vmscan_direct_reclaim_begin", "mm_vmscan_direct_reclaim_end", "mm_vmscan_memcg_reclaim_begin", "mm_vmscan_memcg_reclaim_end",
}

// Supported is nil or a *probe.UnsupportedError.
func Supported() error { return probe.Supported("threads", tracepoints...) }

// Load verifies and loads the programs and maps, which takes some tens of
// milliseconds and a few MB of kernel memory; nothing is attached yet. A
// long-lived agent loads once. The probe measures whom members holds. The error
// may be a *probe.UnsupportedError.
func Load(o Options, members *probe.Members) (*Probe, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	spec, err := loadThreads()
	if err != nil {
		return nil, fmt.Errorf("reading the probe's object: %w", err)
	}
	spec.Maps[threadsMapEndedThreads].MaxEntries = uint32(o.MaxEnded)
	for _, name := range []string{threadsMapHolders, threadsMapEndedTotals} {
		spec.Maps[name].MaxEntries = uint32(o.MaxGroups)
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("counting the CPUs: %w", err)
	}
	spec.Maps[threadsMapCpuSlots].MaxEntries = uint32(cpus)
	p := &Probe{turns: probe.NewTurns("threads")}
	if err := members.Load(spec, &p.objs, "threads"); err != nil {
		return nil, err
	}
	if p.ended, err = p.objs.EndedThreads.Memory(); err != nil {
		return nil, errors.Join(fmt.Errorf("mapping the ended threads: %w", err), p.objs.Close())
	}
	return p, nil
}

// Close unloads everything. It waits for a Measure that runs. Closing twice is
// harmless.
func (p *Probe) Close() error { return p.turns.Close(p.objs.Close) }

// attach hooks every tracepoint; the links are to be closed also on an error.
func (p *Probe) attach() (probe.Links, error) {
	return probe.Attach(p.objs.OnSwitch, p.objs.OnWakeup, p.objs.OnWakeupNew, p.objs.OnMigrate, p.objs.OnContentionBegin, p.objs.OnContentionEnd, p.objs.OnCgroupAttach,
		p.objs.OnDirectReclaimBegin, p.objs.OnDirectReclaimEnd, p.objs.OnMemcgReclaimBegin, p.objs.OnMemcgReclaimEnd)
}
