// Package threads is the probe that keeps the thread-state ledger: for one
// bounded window, where did every nanosecond of every thread of a target go?
//
// It is the node side's first stage: diagnose/agent resolves a target to cgroup
// directories or process ids, asks this package to measure them, and turns the
// Result into evidence. Nothing is attached to the kernel outside a window.
package threads

import (
	"context"
	"time"
)

// NumStates is the number of states of the ledger. A [NumStates]uint64 is in the
// order of incident.States(): on_cpu, run_queue, throttled, io, kernel_lock,
// user_lock, sleep.
const NumStates = 7

// Options sets the sizes of the probe's tables in the kernel.
type Options struct {
	// MaxEnded bounds the threads that ended inside the window and are reported
	// one by one; more only lose that detail and are summed up in Result.Ended.
	MaxEnded int
	// MaxGroups bounds the task groups of the machine that holders are kept for,
	// and the cgroup directories of one target.
	MaxGroups int
}

// DefaultOptions are sizes for a node of a few thousand cgroups: 4096 ended
// threads, 16384 groups.
func DefaultOptions() Options { return Options{MaxEnded: 4096, MaxGroups: 16384} }

// Target says whose threads are measured: those in any of Cgroups or of any of
// PIDs. At least one is set.
type Target struct {
	// Cgroups are absolute paths of cgroup directories; every cgroup below them
	// belongs to the target. On cgroup v1 of any controller's hierarchy.
	Cgroups []string
	// PIDs are process (thread group) ids in this process's pid namespace. Their
	// children are not part of the target.
	PIDs []int
}

// Thread is one thread of the target.
type Thread struct {
	TID, PID int    // in the initial pid namespace
	Comm     string // bytes as the kernel has them; untrusted
	CgroupID uint64 // inode of its directory in the cpu controller's hierarchy, at its last switch
	WallNS   uint64 // its lifetime inside the window, measured apart from StateNS
	StateNS  [NumStates]uint64
	Ended    bool
}

// GroupTotal sums threads of one task group.
type GroupTotal struct {
	CgroupID uint64
	Threads  int
	WallNS   uint64
	StateNS  [NumStates]uint64
}

// Holder is a task group of the machine and how long it held CPUs.
type Holder struct {
	CgroupID uint64
	OnCPUNS  uint64
}

// Result is one measured window.
type Result struct {
	Start   time.Time
	Window  time.Duration // as measured, not as asked for
	Threads []Thread      // living at the end of the window, and ended ones up to Options.MaxEnded
	Ended   []GroupTotal  // threads that ended inside the window and are not in Threads
	Holders []Holder      // every task group that ran, the target's among them, longest first
	IdleNS  uint64        // summed over CPUs
	CPUs    int
	Lost    uint64 // threads or times that could not be recorded: the ledger has a hole
}

// UnsupportedError says why the probe cannot run here, and what would help.
type UnsupportedError struct {
	What   string // what is missing: "BTF", "privileges", "tracepoint sched_switch", ...
	Reason string // the kernel's words, or the least kernel that has it
	Do     string // what a person can do
}

func (e *UnsupportedError) Error() string {
	return "probe threads: " + e.What + " missing (" + e.Reason + "): " + e.Do
}

// Supported reports whether the probe can run here, as nil or *UnsupportedError.
func Supported() error { return errStub }

// Probe is the loaded, detached program.
type Probe struct{}

// Load verifies and loads the programs and maps; nothing is attached yet. A
// long-lived agent loads once. The error may be an *UnsupportedError.
func Load(o Options) (*Probe, error) { return nil, errStub }

// Measure attaches, waits for the window, detaches, and reads the ledger. It
// blocks for the window and returns ctx's error soon after ctx ends. Calls are
// serialised: a second one waits for the first, or for its own ctx.
func (p *Probe) Measure(ctx context.Context, t Target, window time.Duration) (Result, error) {
	return Result{}, errStub
}

// Close unloads everything. A Measure that runs is waited for.
func (p *Probe) Close() error { return nil }

var errStub = &UnsupportedError{What: "implementation", Reason: "stub", Do: "wait for it"}
