package threads

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

// Probe is the loaded program, detached outside of a window.
type Probe struct {
	objs   threadsObjects
	kernel *btf.Spec
	ended  *ebpf.Memory  // of the map ended_threads
	busy   chan struct{} // holds a token while a window is open or after Close
	window uint32        // number of the last one
	closed bool
}

// Load verifies and loads the programs and maps, which takes some tens of
// milliseconds and a few MB of kernel memory; nothing is attached yet. A
// long-lived agent loads once. The error may be an *UnsupportedError.
func Load(o Options) (*Probe, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	cache := btf.NewCache()
	if err := supported(cache); err != nil {
		return nil, err
	}
	kernel, err := cache.Kernel()
	if err != nil {
		return nil, noBTF(err)
	}
	spec, err := loadThreads()
	if err != nil {
		return nil, fmt.Errorf("reading the probe's object: %w", err)
	}
	spec.Maps[threadsMapEndedThreads].MaxEntries = uint32(o.MaxEnded)
	for _, name := range []string{threadsMapHolders, threadsMapEndedTotals, threadsMapTargetCgroups, threadsMapTargetProcesses} {
		spec.Maps[name].MaxEntries = uint32(o.MaxGroups)
	}
	p := &Probe{kernel: kernel, busy: make(chan struct{}, 1)}
	if err := spec.LoadAndAssign(&p.objs, &ebpf.CollectionOptions{Cache: cache}); err != nil {
		return nil, fmt.Errorf("loading probe threads: %w", typed(err))
	}
	if p.ended, err = p.objs.EndedThreads.Memory(); err != nil {
		return nil, errors.Join(fmt.Errorf("mapping the ended threads: %w", err), p.objs.Close())
	}
	return p, nil
}

// Close unloads everything. It waits for a Measure that runs. Closing twice is
// harmless.
func (p *Probe) Close() error {
	p.busy <- struct{}{}
	defer func() { <-p.busy }()
	if p.closed {
		return nil
	}
	p.closed = true
	return p.objs.Close()
}

// attach hooks every tracepoint; the links are to be closed also on an error.
func (p *Probe) attach() (links, error) {
	var ls links
	for _, prog := range []*ebpf.Program{
		p.objs.OnSwitch, p.objs.OnWakeup, p.objs.OnWakeupNew, p.objs.OnContentionBegin, p.objs.OnContentionEnd,
		p.objs.OnCgroupMkdir, p.objs.OnCgroupAttach,
	} {
		l, err := link.AttachTracing(link.TracingOptions{Program: prog, AttachType: ebpf.AttachTraceRawTp})
		if err != nil {
			return ls, fmt.Errorf("attaching %s: %w", prog, typed(err))
		}
		ls = append(ls, l)
	}
	return ls, nil
}

type links []link.Link

func (ls links) Close() error {
	var errs []error
	for _, l := range ls {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
