package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/bpf/threads"
	"github.com/kmend/kmend/diagnose/agent/symbols"
)

// prober is a loaded set of probes: the ledger's and the instruments.
type prober interface {
	// Measure measures one target at a time. An error is about the ledger; how
	// the instruments fared is in their outcomes, also beside an error: one of them
	// may know why there is no target any more.
	Measure(ctx context.Context, s subject, window time.Duration, m *meter) (threads.Result, []outcome, error)
	// Memory is the bytes of its tables in the kernel.
	Memory() int64
	Close() error
}

// kit is the real one. Its probes share the target's tables.
type kit struct {
	members *probe.Members
	ledger  *threads.Probe
	parts   []part
	bytes   int64
}

// openKit loads everything, on the account of m. groups bounds the cgroups of a target.
func openKit(groups int, kernel *symbols.KernelSymbols, m *meter) (prober, error) {
	before := tables()
	o := threads.DefaultOptions()
	o.MaxGroups = groups
	members, err := probe.NewMembers(o.MaxGroups)
	if err != nil {
		return nil, err
	}
	k := &kit{members: members}
	for _, i := range instruments(kernel) {
		k.parts = append(k.parts, part{instrument: i})
	}
	var loading sync.WaitGroup
	// As many at once as the kernel can verify: more would take the CPUs from the
	// ledger, which takes longest and so begins first.
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	begin := func(load func() error, failed *error) {
		slots <- struct{}{}
		loading.Go(func() {
			defer func() { <-slots }()
			leave, err := m.join()
			if err != nil {
				*failed = err
				return
			}
			defer leave()
			*failed = load()
		})
	}
	begin(func() (err error) { k.ledger, err = threads.Load(o, members); return err }, &err)
	for i := range k.parts {
		p := &k.parts[i]
		begin(func() (err error) { p.measurer, err = p.load(members); return err }, &p.err)
	}
	loading.Wait()
	if err != nil {
		return nil, errors.Join(err, k.Close())
	}
	k.bytes = max(0, tables()-before)
	return k, nil
}

func (k *kit) Memory() int64 { return k.bytes }

// tables adds up the kernel memory of the BPF maps that this process holds, as
// /proc/self/fdinfo has it. A map held twice counts twice, which none is for long.
func tables() (sum int64) {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0 // no /proc: the budget then only knows this process
	}
	for _, fd := range fds {
		if what, err := os.Readlink("/proc/self/fd/" + fd.Name()); err != nil || what != "anon_inode:bpf-map" {
			continue
		}
		info, err := os.ReadFile("/proc/self/fdinfo/" + fd.Name())
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(info)) {
			if bytes, ok := strings.CutPrefix(line, "memlock:"); ok {
				n, _ := strconv.ParseInt(strings.TrimSpace(bytes), 10, 64)
				sum += n
			}
		}
	}
	return sum
}

func (k *kit) Measure(ctx context.Context, s subject, window time.Duration, m *meter) (r threads.Result, outcomes []outcome, err error) {
	defer func() { err = errors.Join(err, k.members.Clear()) }()
	if err := k.members.Set(s.target); err != nil {
		return r, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	together := probe.NewTogether(s.patience)
	mine, ready := together.Join(ctx)
	wait := start(ctx, together, k.parts, s, window, m)
	r, err = k.ledger.Measure(mine, window)
	ready() // where it never came to its window
	if err != nil {
		cancel(err) // without the ledger nobody needs the others
	}
	outcomes = wait()
	cancel(nil)
	if err != nil {
		return r, outcomes, err
	}
	lost, err := k.members.Lost()
	r.Lost += lost
	return r, outcomes, err
}

func (k *kit) Close() error {
	var errs []error
	for _, p := range k.parts {
		if p.measurer != nil {
			errs = append(errs, p.measurer.Close())
		}
	}
	if k.ledger != nil {
		errs = append(errs, k.ledger.Close())
	}
	return errors.Join(append(errs, k.members.Close())...)
}

// pool keeps probes loaded between measurements: loading takes longer than all
// the rest of an answer. A probe measures one target at a time, so there are as
// many as were ever used at once.
type pool struct {
	open func(*meter) (prober, error)

	mu     sync.Mutex
	idle   []prober
	closed bool
}

func (p *pool) get(m *meter) (prober, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errors.New("the agent is closed")
	}
	if n := len(p.idle); n > 0 {
		probe := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return probe, nil
	}
	p.mu.Unlock()
	return p.open(m)
}

func (p *pool) put(probe prober) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		probe.Close()
		return
	}
	p.idle = append(p.idle, probe)
}

func (p *pool) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for _, probe := range p.idle {
		errs = append(errs, probe.Close())
	}
	p.idle = nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("closing the probes: %w", err)
	}
	return nil
}
