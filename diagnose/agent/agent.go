package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/bpf/threads"
	"github.com/kmend/kmend/diagnose/agent/cgroups"
	"github.com/kmend/kmend/diagnose/agent/symbols"
	"github.com/kmend/kmend/incident"
	"golang.org/x/sys/unix"
)

// Agent measures targets on the node it runs on. It is safe for concurrent use.
type Agent struct {
	o       Options
	node    incident.Node
	strict  bool // the node's name is known, and not guessed from the host's
	kernel  *symbols.KernelSymbols
	pool    pool
	metrics *metrics

	mu   sync.Mutex
	busy map[string]bool // scope keys under way
}

// New makes an agent. The probe is loaded by the first measurement, so that an
// agent on a node that cannot run it can still say so.
func New(o Options) (*Agent, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("agent options: %w", err)
	}
	kernel := symbols.NewKernelSymbols(o.Proc)
	if o.open == nil {
		o.open = func(m *meter) (prober, error) { return openKit(threads.DefaultOptions().MaxGroups, kernel, m) }
	}
	strict := o.NodeName != ""
	if !strict {
		name, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("naming the node: %w", err)
		}
		o.NodeName = name
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil, fmt.Errorf("reading the kernel's release: %w", err)
	}
	return &Agent{
		o: o,
		node: incident.Node{
			Name:         o.NodeName,
			Kernel:       unix.ByteSliceToString(u.Release[:]),
			CPUs:         runtime.NumCPU(),
			AgentVersion: o.Version,
		},
		strict:  strict,
		kernel:  kernel,
		pool:    pool{open: o.open},
		metrics: newMetrics(o.Registerer),
		busy:    map[string]bool{},
	}, nil
}

// Warm loads the probes and reads the kernel's symbols before the first request,
// which is then answered as fast as the others. An error is that of the first
// measurement.
func (a *Agent) Warm() error {
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() { _ = a.kernel.Read() }) // who needs a name says why there is none
	probes, err := a.pool.get(newMeter())
	if err != nil {
		return unsupported(err)
	}
	a.pool.put(probes)
	return nil
}

// Close unloads the probe. Measurements under way end first, when their callers
// end them.
func (a *Agent) Close() error { return a.pool.close() }

// Capabilities says what this agent can do here.
func (a *Agent) Capabilities(context.Context) (Capabilities, error) {
	c := Capabilities{
		APIVersion:   APIVersion,
		AgentVersion: a.o.Version,
		Node:         a.node,
		MaxWindow:    incident.Duration(a.o.MaxWindow),
		MaxAtOnce:    a.o.MaxAtOnce,
		Probes: []incident.ProbeStatus{
			probeStatus("threads", threads.Supported()),
			{Name: "cgroup", Status: incident.ProbeOK},
		},
	}
	for _, i := range instruments(a.kernel) {
		c.Probes = append(c.Probes, probeStatus(i.name, i.supported()))
	}
	c.Probes = append(c.Probes, a.recorderStatus())
	n, err := cgroups.Open(a.o.Proc)
	if err != nil {
		c.Probes[1] = probeStatus("cgroup", err)
		return c, nil
	}
	c.CgroupMode = n.Mode()
	return c, nil
}

func probeStatus(name string, err error) incident.ProbeStatus {
	if err != nil {
		return incident.ProbeStatus{Name: name, Status: incident.ProbeUnsupported, Reason: err.Error()}
	}
	return incident.ProbeStatus{Name: name, Status: incident.ProbeOK}
}

// Measure measures one target for one window. progress may be nil; it is called
// from this goroutine. A target that is not there, a request that makes no sense,
// a node that cannot measure and an agent with enough to do are errors of the
// kinds in request.go; what goes wrong during the window is in the answer, as a
// probe that was aborted and why.
func (a *Agent) Measure(ctx context.Context, r Request, progress func(Progress)) (incident.Measurement, error) {
	if progress == nil {
		progress = func(Progress) {}
	}
	started := time.Now()
	measure := a.measure
	if !r.Since.IsZero() {
		measure = func(ctx context.Context, r Request, _ func(Progress)) (incident.Measurement, error) {
			return a.recorded(ctx, r)
		}
	}
	var m incident.Measurement
	err := a.mine(r.Target)
	if err == nil {
		m, err = measure(ctx, r, progress)
	}
	a.metrics.observe(m, err, time.Since(started))
	return m, err
}

func (a *Agent) measure(ctx context.Context, r Request, progress func(Progress)) (incident.Measurement, error) {
	meter := newMeter()
	leave, err := meter.join()
	if err != nil {
		return incident.Measurement{}, err
	}
	defer leave()
	r, err = a.bounded(r)
	if err != nil {
		return incident.Measurement{}, err
	}
	node, err := cgroups.Open(a.o.Proc)
	if err != nil {
		return incident.Measurement{}, refuse(ErrUnsupported, "%s", err)
	}
	s, err := a.resolve(ctx, node, r.Target)
	if err != nil {
		return incident.Measurement{}, err
	}
	release, err := a.admit(s.key)
	if err != nil {
		return incident.Measurement{}, err
	}
	defer release()
	progress(Progress{Stage: Resolved, Message: "found " + s.key})

	probes, err := a.pool.get(meter)
	if err != nil {
		return incident.Measurement{}, unsupported(err)
	}
	meter.tables = probes.Memory()
	w := window{node: node, proc: a.o.Proc, scope: s, request: r, probe: probes, meter: meter, patience: a.o.Patience}
	progress(Progress{Stage: Measuring, Message: fmt.Sprintf("measuring %s for %s", s.target, r.Window), Window: r.Window})
	seen, err := w.run(ctx)
	if err != nil && ctx.Err() == nil {
		_ = probes.Close() // what state it is in is not known
		return incident.Measurement{}, unsupported(err)
	}
	a.pool.put(probes)
	if err != nil {
		return incident.Measurement{}, fmt.Errorf("measuring %s: %w", s.target, err)
	}
	if aborted, ok := errors.AsType[*errAborted](seen.aborted); ok && aborted.over != "" {
		a.metrics.overBudget.WithLabelValues(aborted.over).Inc()
	}
	progress(Progress{Stage: Measured, Message: "reading the ledger"})
	m := seen.measurement(a.node)
	m.Cost = meter.cost()
	return m, nil
}

// unsupported makes a refusal of an error that says the node cannot run the probe.
func unsupported(err error) error {
	if u, ok := errors.AsType[*probe.UnsupportedError](err); ok {
		return refuse(ErrUnsupported, "%s", u)
	}
	return fmt.Errorf("measuring: %w", err)
}

// bounded fills in what the request leaves open and checks the rest.
func (a *Agent) bounded(r Request) (Request, error) {
	if r.Window == 0 {
		r.Window = defaultWindow
	}
	if r.Window < minWindow || r.Window > a.o.MaxWindow {
		return r, refuse(ErrInvalid, "the window of %s is not allowed; allowed: %s to %s", r.Window, minWindow, a.o.MaxWindow)
	}
	if r.Budget.CPU < 0 {
		return r, refuse(ErrInvalid, "the CPU budget of %s is negative", r.Budget.CPU)
	}
	if r.Budget.Memory < 0 {
		return r, refuse(ErrInvalid, "the memory budget of %d bytes is negative", r.Budget.Memory)
	}
	if r.Budget.Memory == 0 || r.Budget.Memory > a.o.Budget.Memory {
		r.Budget.Memory = a.o.Budget.Memory
	}
	if r.Budget.CPU == 0 || r.Budget.CPU > a.o.Budget.CPU {
		r.Budget.CPU = a.o.Budget.CPU
	}
	return r, nil
}

// admit takes a place for key, or refuses.
func (a *Agent) admit(key string) (release func(), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.busy[key] {
		return nil, refuse(ErrBusy, "%s is being measured already; ask again after its window", key)
	}
	if len(a.busy) >= a.o.MaxAtOnce {
		return nil, refuse(ErrBusy, "%d measurements are under way, which is the most at once; ask again in a few seconds", len(a.busy))
	}
	a.busy[key] = true
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.busy, key)
	}, nil
}
