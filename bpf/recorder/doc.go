// Package recorder is the probe of the flight recorder: for every task group of
// the node, how long its threads were in each active state of the ledger and some
// counters, added up in the kernel all the time and read once a second.
//
// It is beside the flow: diagnose/agent/recorder keeps what it reads, so that
// diagnose/agent can answer for a window in the past. Unlike the other probes it
// stays attached; what it costs each switch of the node is in docs/benchmarks.md.
package recorder

import "time"

// NumStates is the number of recorded states: on_cpu, run_queue, throttled, io,
// reclaim and kernel_lock, in this order. User locks and other sleep are not
// recorded: a thread that waits for work is in them nearly all the time.
const NumStates = 6

// Indexes of Delta.NS.
const (
	OnCPU = iota
	RunQueue
	Throttled
	IO
	Reclaim
	KernelLock
)

// Delta is what one task group did between two reads. Waits that ended are in it
// as a whole; those of more than a second are in Sample.Long.
type Delta struct {
	Cgroup uint64            // inode of its directory in the cpu controller's hierarchy; 1 is the root, 0 the groups beyond Options.MaxGroups
	NS     [NumStates]uint64 // summed over threads; kernel threads count for OnCPU alone

	Switches    uint64
	Threads     uint64 // threads that were active for 2% of the second and more
	Reclaims    uint64 // direct and memcg reclaims begun by its threads
	OOMKills    uint64 // victims among its processes
	Requests    uint64 // to block devices, begun by its threads, that are complete
	RequestNS   uint64 // that they took, one after the other
	Retransmits uint64 // TCP segments of its sockets; where the cpu controller is on cgroup v1, 0
	StallNS     uint64 // that connections had stalled before, counted in the second in which a stall ends
	NetNS       uint32 // of the sockets that have sent again since the group was made: as in /proc/PID/ns/net, SeveralNetNS, or 0

	// Of the root alone: the same of all kernel threads.
	KernelRequests, KernelRequestNS uint64

	Periods     uint64 // CFS periods with something to run
	Limited     uint64 // of those, in which the quota was used up
	ThrottledNS uint64 // of the group by its own quota, summed over CPUs

	Quota  float64 // CPUs; 0: none
	Period time.Duration
}

// SeveralNetNS is Delta.NetNS of a group whose sockets are in several namespaces.
const SeveralNetNS = ^uint32(0)

// Wait is one wait of a thread for more than a second, or one that lasts.
type Wait struct {
	Cgroup     uint64
	State      int           // index of Delta.NS
	Begin, End time.Duration // CLOCK_MONOTONIC
}

// Victim is a process that the OOM killer ended.
type Victim struct {
	Cgroup uint64
	PID    int
	Comm   string        // as it named itself: untrusted
	At     time.Duration // CLOCK_MONOTONIC
}

// Sample is one read. Its slices are used again by the next one.
type Sample struct {
	Start, End time.Duration // CLOCK_MONOTONIC
	Groups     []Delta       // in no order; groups that did nothing are not in it
	Long       []Wait
	Victims    []Victim
	// Overflown counts what was not recorded: of groups for which there was no cell
	// (see Options.MaxGroups), and of threads beyond the 65536th.
	Overflown uint64
}
