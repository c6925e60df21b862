// Package threads is the probe that keeps the thread-state ledger: for one
// bounded window, where did every nanosecond of every thread of a target go?
//
// It is the node side's first stage: diagnose/agent resolves a target to cgroup
// directories or process ids, asks this package to measure them, and turns the
// Result into evidence. Nothing is attached to the kernel outside a window.
package threads

import "time"

// NumStates is the number of states of the ledger. A [NumStates]uint64 is in the
// order of incident.States(): on_cpu, run_queue, throttled, io, reclaim,
// kernel_lock, user_lock, sleep.
const NumStates = 8

// Thread is one thread of the target.
type Thread struct {
	TID, PID int    // in the initial pid namespace
	Comm     string // as the thread named itself: untrusted
	CgroupID uint64 // inode of its directory in the cpu controller's hierarchy; 1 is the root
	WallNS   uint64 // its lifetime inside the window, measured apart from StateNS
	StateNS  [NumStates]uint64
	Behind   Behind
	Ended    bool // before the window did
}

// GroupTotal sums ended threads of one task group.
type GroupTotal struct {
	CgroupID uint64
	Threads  int
	WallNS   uint64
	StateNS  [NumStates]uint64
	Behind   Behind
}

// Behind is the part of run_queue in which somebody ran on the CPU in whose queue the
// thread was. In the rest that CPU was idle.
type Behind struct {
	OwnNS    uint64 // another thread of the target
	OthersNS uint64
	KmendNS  uint64 // this process
}

// Holder is a task group of the machine and how long its threads held CPUs.
type Holder struct {
	CgroupID uint64 // 0: the groups beyond Options.MaxGroups together
	OnCPUNS  uint64 // summed over CPUs
}

// Result is one measured window. The sum over Holders and IdleNS is CPUs x Window.
type Result struct {
	Start   time.Time
	Window  time.Duration
	Threads []Thread     // in no order; those that ended up to Options.MaxEnded
	Ended   []GroupTotal // threads that ended inside the window and are not in Threads
	Holders []Holder     // every task group that ran, the target's and the kernel's own among them, longest first
	IdleNS  uint64       // summed over CPUs
	KmendNS uint64       // of what Holders held, this process's part
	CPUs    int          // online
	Lost    uint64       // threads or times that could not be recorded: the ledger has a hole
}
