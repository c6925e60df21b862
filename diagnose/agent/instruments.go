package agent

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/kmend/kmend/bpf/disk"
	"github.com/kmend/kmend/bpf/futex"
	"github.com/kmend/kmend/bpf/jvm"
	"github.com/kmend/kmend/bpf/locks"
	"github.com/kmend/kmend/bpf/memory"
	"github.com/kmend/kmend/bpf/postgres"
	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/bpf/profile"
	"github.com/kmend/kmend/bpf/tcp"
	"github.com/kmend/kmend/diagnose/agent/cgroups"
	"github.com/kmend/kmend/diagnose/agent/symbols"
	"github.com/kmend/kmend/incident"
)

// instrument is a probe that measures beside the ledger, in the same window.
type instrument struct {
	name      string // as in ProbeStatus and Evidence
	supported func() error
	load      func(*probe.Members) (measurer, error)
}

// instruments lists them in the order in which their evidence is shown. Those that
// name the kernel's functions share its symbols.
func instruments(kernel *symbols.KernelSymbols) []instrument {
	named := func(load func(*probe.Members, *symbols.KernelSymbols) (measurer, error)) func(*probe.Members) (measurer, error) {
		return func(m *probe.Members) (measurer, error) { return load(m, kernel) }
	}
	return []instrument{
		{name: "disk", supported: disk.Supported, load: loadDisks},
		{name: "memory", supported: memory.Supported, load: loadMemories},
		{name: "locks", supported: locks.Supported, load: named(loadLocks)},
		{name: "futex", supported: futex.Supported, load: named(loadFutex)},
		{name: "tcp", supported: tcp.Supported, load: loadConnections},
		{name: "postgres", supported: postgres.Supported, load: loadDatabases},
		{name: "jvm", supported: jvm.Supported, load: loadMachines},
		{name: "steal", supported: stealSupported, load: loadStealer},
		{name: "profile", supported: profile.Supported, load: named(loadProfiler)},
	}
}

// newSymbolizer is for one instrument: what it takes is the instrument's own. The
// kernel's symbols are everybody's.
func newSymbolizer(kernel *symbols.KernelSymbols) (*symbols.Symbolizer, error) {
	o := symbols.DefaultOptions()
	o.Kernel = kernel
	return symbols.New(o)
}

// measurer is a loaded instrument. Measure attaches, waits for the window, reads,
// detaches and makes evidence of it while the target still lives, within a second
// after the window: ctx ends then. It is called by one goroutine at a time.
type measurer interface {
	Measure(ctx context.Context, s subject, window time.Duration) (reading, error)
	Close() error
}

// subject is who is measured, as instruments see it that look outside of BPF.
type subject struct {
	node   *cgroups.Node
	target probe.Target
	proc   string       // where the node's processes are seen: "/proc"
	pids   func() []int // the target's living processes, now
	meter  *meter       // whose account it is on; nil: nobody's
	// patience is for how long a probe that has attached waits for the others.
	patience time.Duration
}

// account binds a goroutine that works for an instrument to its thread, and counts it
// until leave.
func (s subject) account() (leave func(), err error) {
	if s.meter == nil {
		return func() {}, nil
	}
	return s.meter.join()
}

// living are the target's processes now.
func (s subject) living() []int {
	if s.pids == nil {
		return nil
	}
	return s.pids()
}

// reading is what an instrument gives.
type reading struct {
	evidence []incident.Evidence // without ids
	lost     uint64
	peers    []incident.Peer
	idle     string // why there was nothing for it to measure: "no process of the target runs PostgreSQL"
}

// part is an instrument as it was loaded, or why it was not.
type part struct {
	instrument
	measurer measurer
	err      error
}

// outcome is how a part fared in one window.
type outcome struct {
	reading reading
	status  incident.ProbeStatus
}

// afterWindow is what an instrument has to turn what it read into evidence.
const afterWindow = 900 * time.Millisecond

// measure runs the part. An instrument that fails or panics is one that did not
// measure; the others do not suffer from it.
func (p part) measure(ctx context.Context, s subject, window time.Duration) (o outcome) {
	o.status = incident.ProbeStatus{Name: p.name, Status: incident.ProbeOK}
	defer func() {
		if r := recover(); r != nil {
			o = outcome{status: incident.ProbeStatus{Name: p.name, Status: incident.ProbeAborted, Reason: fmt.Sprintf("it panicked: %v: %s", r, debug.Stack())}}
		}
	}()
	if p.err != nil {
		o.status = probeStatus(p.name, p.err)
		return o
	}
	ctx, cancel := context.WithTimeoutCause(ctx, window+afterWindow+attachTime, fmt.Errorf("it was not done %s after the window", afterWindow))
	defer cancel()
	r, err := p.measurer.Measure(ctx, s, window)
	if err != nil {
		o.status.Status, o.status.Reason = incident.ProbeAborted, err.Error()
		return o
	}
	for i := range r.evidence {
		r.evidence[i].Probe = p.name
		r.evidence[i].Lost += r.lost
	}
	o.reading, o.status.Lost, o.status.Reason = r, r.lost, r.idle
	return o
}

// attachTime is what attaching may take on a slow machine.
const attachTime = 2 * time.Second

// start runs every part beside the caller, and their windows begin together; wait
// gives their outcomes in order.
func start(ctx context.Context, together *probe.Together, parts []part, s subject, window time.Duration, m *meter) (wait func() []outcome) {
	out := make([]outcome, len(parts))
	var wg sync.WaitGroup
	for i, p := range parts {
		ctx, ready := together.Join(ctx)
		wg.Go(func() {
			defer ready() // also where there is nothing to measure
			leave, err := m.join()
			if err != nil {
				out[i] = outcome{status: incident.ProbeStatus{Name: p.name, Status: incident.ProbeAborted, Reason: err.Error()}}
				return
			}
			defer leave()
			out[i] = p.measure(ctx, s, window)
		})
	}
	return func() []outcome { wg.Wait(); return out }
}
