// Package memory is the probe that measures what the target's threads do to get
// memory: how often and how long they reclaim it themselves, and which process
// is killed when there is none left.
//
// diagnose/agent runs it beside the ledger of bpf/threads, and reads what the
// target's memory cgroups say about themselves. BTF tracepoints only, attached
// for the window.
package memory

import "time"

// Result is one measured window.
type Result struct {
	Window time.Duration
	// Direct is reclaim because the node had no free memory, Memcg because a cgroup
	// of the target was at its limit.
	Direct, Memcg Reclaim
	Kills         []Kill // in order; the first 64
	Lost          uint64 // reclaims and kills that could not be recorded
}

// Reclaim sums what began inside the window, up to its end.
type Reclaim struct {
	Count   uint64
	Time    time.Duration // summed over threads
	Pages   uint64        // that were got back by those that ended
	Longest time.Duration
}

// Kill is one process that the kernel chose to end for its memory.
type Kill struct {
	After  time.Duration // from the begin of the window
	PID    int           // in the initial pid namespace
	Comm   string        // as the process named itself: untrusted; empty before Linux 6.1.91, where only the pid is known
	Target bool          // it was of the target; before Linux 6.1.91: or a thread of the target asked for the memory
	// CgroupID is the memory cgroup that was at its limit, the nearest above the
	// victim (inode of its directory in the memory controller's hierarchy). 0: none
	// was, the node was out of memory.
	CgroupID     uint64
	Usage, Limit uint64 // of that cgroup, bytes
	Size         uint64 // of the victim's address space, bytes; 0: not known
}
