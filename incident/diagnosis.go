package incident

import "time"

// Cause is a root cause that the kernel can confirm, named as in docs/causes.md.
type Cause string

const (
	CPUThrottled  Cause = "cpu.throttled"
	CPUSaturated  Cause = "cpu.saturated"
	CPUBusy       Cause = "cpu.busy"
	CPUSteal      Cause = "cpu.steal" // the hypervisor takes the CPU
	NetRetransmit Cause = "net.retransmit"
	NetPeerSlow   Cause = "net.peer_slow" // names the next hop to ask
	DiskLatency   Cause = "disk.latency"
	LockKernel    Cause = "lock.kernel"
	LockUser      Cause = "lock.user"
	DBLockWait    Cause = "db.lock_wait"
	JVMGCPause    Cause = "jvm.gc_pause"
	MemReclaim    Cause = "mem.reclaim"
	MemOOM        Cause = "mem.oom"
)

// Causes lists every cause that a diagnosis can name.
func Causes() []Cause {
	return []Cause{
		CPUThrottled, CPUSaturated, CPUBusy, CPUSteal, NetRetransmit, NetPeerSlow, DiskLatency,
		LockKernel, LockUser, DBLockWait, JVMGCPause, MemReclaim, MemOOM,
	}
}

// Verdict is what a measurement allows to be said.
type Verdict string

const (
	// Confirmed: over its thresholds of share and of duration, both stated in the finding.
	Confirmed Verdict = "confirmed"
	// Clean: everything was measured and nothing is over its threshold. It forbids kernel runbooks.
	Clean Verdict = "clean"
	// Inconclusive: events lost, a probe refused, the window too short, the target gone,
	// or two causes that cannot be told apart. Never act on it.
	Inconclusive Verdict = "inconclusive"
)

// State is one state of the thread-state ledger. Every nanosecond of every
// thread of the target is in exactly one of them.
type State string

const (
	OnCPU      State = "on_cpu"
	RunQueue   State = "run_queue"   // runnable, waiting for a CPU
	Throttled  State = "throttled"   // runnable, its group's CPU quota is used up
	IO         State = "io"          // blocked on block I/O or on the file system that does it
	Reclaim    State = "reclaim"     // in memory reclaim, or waiting for memory
	KernelLock State = "kernel_lock" // blocked on a contended kernel lock
	UserLock   State = "user_lock"   // blocked in futex(2)
	Sleep      State = "sleep"       // any other wait
)

// States lists the ledger's states in the order in which they are shown.
func States() []State {
	return []State{OnCPU, RunQueue, Throttled, IO, Reclaim, KernelLock, UserLock, Sleep}
}

// Window is the time that was measured.
type Window struct {
	Start   time.Time `json:"start"`
	Seconds float64   `json:"seconds"`
	// Recorded: it was over when it was asked about, and the flight recorder's
	// buckets answered.
	Recorded bool `json:"recorded,omitempty"`
}

// End is when the window closed: the age of its evidence counts from there.
func (w Window) End() time.Time { return w.Start.Add(time.Duration(w.Seconds * float64(time.Second))) }

// Baseline is what the target did before a recorded window, for comparison: the
// recorded states of its ledger, in milliseconds.
type Baseline struct {
	Window Window            `json:"window"`
	States map[State]float64 `json:"states"`
}

// Ledger is where the target's threads spent the window, in milliseconds. The
// sum over States is within 1% of WallMS: threads that live for the whole window
// count in full, the others from their birth or until their exit.
type Ledger struct {
	Threads int               `json:"threads"` // threads seen in the window, those that ended among them
	WallMS  float64           `json:"wall_ms"` // sum of the threads' lifetimes inside the window
	States  map[State]float64 `json:"states"`
	// Top are the threads that were active longest (every state but sleep and user_lock), most active first.
	Top []ThreadLedger `json:"top,omitempty"`
	// Groups splits the ledger by task group when the target has more than one.
	Groups []GroupLedger `json:"groups,omitempty"`
}

// ThreadLedger is the ledger of one thread, in milliseconds.
type ThreadLedger struct {
	TID    int               `json:"tid"`
	PID    int               `json:"pid"`
	Comm   string            `json:"comm"`
	WallMS float64           `json:"wall_ms"`
	States map[State]float64 `json:"states"`
}

// GroupLedger is the ledger of the target's threads in one cgroup, in milliseconds.
type GroupLedger struct {
	Cgroup  string            `json:"cgroup"` // path on the node, or "id:NUMBER" when it is gone
	Threads int               `json:"threads"`
	WallMS  float64           `json:"wall_ms"`
	States  map[State]float64 `json:"states"`
}

// Evidence is one measured number. Findings cite it by ID.
type Evidence struct {
	ID      string  `json:"id"`                // unique within a diagnosis: e1, e2, ...
	Probe   string  `json:"probe"`             // who measured it: "threads", "cgroup", ...
	Metric  string  `json:"metric"`            // what: a ledger state, "quota", "nr_throttled", ...
	Subject string  `json:"subject,omitempty"` // of what, where it is not the whole target: a cgroup's path, say
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"` // "ms", "cpus", "periods", "threads", ...
	Lost    uint64  `json:"lost"` // events the probe lost while it measured this
	// Stack is where it happened in the code, innermost first: "sqlite3_step (libsqlite3.so.0)".
	Stack []string `json:"stack,omitempty"`
	// Histogram spreads the single measurements behind Value, in Unit.
	Histogram []Bucket `json:"histogram,omitempty"`
}

// Bucket counts the measurements up to a value, and above that of the bucket before.
type Bucket struct {
	UpTo  float64 `json:"up_to"`
	Count uint64  `json:"count"`
}

// Finding says one thing about the target, with the evidence for it.
type Finding struct {
	Cause   Cause   `json:"cause,omitempty"` // empty for the finding of a clean or an inconclusive diagnosis
	Verdict Verdict `json:"verdict"`
	Share   float64 `json:"share"` // of the time the target's threads wanted to make progress, 0..1
	Message string  `json:"message"`
	// Threshold is what the finding is over: "at least 5% and 50 ms". Empty unless confirmed.
	Threshold string   `json:"threshold,omitempty"`
	Evidence  []string `json:"evidence"` // Evidence.ID
	// Recorded: it is about a recorded window. What it names may be over.
	Recorded bool `json:"recorded,omitempty"`
}

// ProbeState is how a probe fared.
type ProbeState string

const (
	ProbeOK          ProbeState = "ok"
	ProbeUnsupported ProbeState = "unsupported" // this kernel or this process cannot run it
	ProbeAborted     ProbeState = "aborted"     // it ran and was stopped: over its budget, the target gone
)

// ProbeStatus is the account of one probe in one window.
type ProbeStatus struct {
	Name   string     `json:"name"`
	Status ProbeState `json:"status"`
	Reason string     `json:"reason,omitempty"`
	Lost   uint64     `json:"lost"`
}

// Cost is what the measurement took from the node.
type Cost struct {
	CPUMS  float64 `json:"cpu_ms"`  // CPU time of the agent for this request
	WallMS float64 `json:"wall_ms"` // from the request to the answer, the window included
	// MemoryBytes is the most that was seen: the probes' tables in the kernel, and by how much the agent grew.
	MemoryBytes int64 `json:"memory_bytes,omitempty"`
}

// Peer is a process on the target's own node that the target waits for: it serves
// an address that the target asks.
type Peer struct {
	Address string `json:"address"` // as the evidence's subject names it, "127.0.0.1:8080"
	PID     int    `json:"pid"`
	Cgroup  string `json:"cgroup,omitempty"` // directory of its group; empty: it is in no group of its own
}

// Measurement is what an agent answers: facts, no opinion. diagnose/cause turns
// it into a Diagnosis.
type Measurement struct {
	Target   Target        `json:"target"` // as resolved on the node
	Node     Node          `json:"node"`
	Window   Window        `json:"window"`
	Evidence []Evidence    `json:"evidence"`
	Ledger   Ledger        `json:"ledger"`
	Probes   []ProbeStatus `json:"probes"`
	Cost     Cost          `json:"cost"`
	// Baseline is of a recorded window, where there is something before it.
	Baseline *Baseline `json:"baseline,omitempty"`
	Peers    []Peer    `json:"peers,omitempty"`
}

// Node is the machine that was measured.
type Node struct {
	Name         string `json:"name"`
	Kernel       string `json:"kernel"` // uname -r
	CPUs         int    `json:"cpus"`   // online
	AgentVersion string `json:"agentVersion,omitempty"`
}

// Diagnosis is the answer to "why is this target slow", and the JSON contract of
// `kmend diagnose -o json`. Findings[0] is the root cause.
type Diagnosis struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"` // "Diagnosis"
	Target     Target    `json:"target"`
	Node       Node      `json:"node"`
	Window     Window    `json:"window"`
	Verdict    Verdict   `json:"verdict"`
	Findings   []Finding `json:"findings"`
	// NotMeasured are the causes that could be there all the same: a probe that
	// they need is unsupported, failed or was not asked.
	NotMeasured []Cause       `json:"not_measured,omitempty"`
	Evidence    []Evidence    `json:"evidence"`
	Ledger      Ledger        `json:"ledger"`
	Probes      []ProbeStatus `json:"probes"`
	Cost        Cost          `json:"cost"`
	Baseline    *Baseline     `json:"baseline,omitempty"` // of a recorded window
	Peers       []Peer        `json:"peers,omitempty"`    // who is asked on this node
	// Also is the other window that was asked: beside a live one that from before
	// the alert, beside a recorded one the live one. It decides nothing.
	Also *Diagnosis `json:"also,omitempty"`
	// Investigation is how an incident's diagnosis came about; none for `kmend diagnose`.
	Investigation *Investigation `json:"investigation,omitempty"`
}

// RootCause is the first finding; ok is false when nothing is confirmed.
func (d Diagnosis) RootCause() (f Finding, ok bool) {
	if d.Verdict != Confirmed || len(d.Findings) == 0 {
		return Finding{}, false
	}
	return d.Findings[0], true
}

// Finding looks up the confirmed finding of a cause.
func (d Diagnosis) Finding(c Cause) (f Finding, ok bool) {
	for _, f := range d.Findings {
		if f.Cause == c && f.Verdict == Confirmed {
			return f, true
		}
	}
	return Finding{}, false
}
