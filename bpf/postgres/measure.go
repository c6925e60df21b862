package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kmend/kmend/bpf/probe"
)

// sampleEvery is how often the servers' memory is read.
const sampleEvery = 100 * time.Millisecond

// Measure attaches, waits for the window, reads and detaches. pids gives the
// target's processes, now; proc is where they are seen. Where none of them runs
// PostgreSQL it returns a Result without Backends at once. The target is the
// Members' that the probe was loaded with.
func (p *Probe) Measure(ctx context.Context, proc string, pids func() []int, window time.Duration) (Result, error) {
	s := newScene(proc, p.o.MaxBackends)
	defer s.close()
	r, err := p.measure(ctx, s, pids, window)
	if err != nil {
		return Result{}, fmt.Errorf("measuring PostgreSQL: %w", err)
	}
	return r, nil
}

func (p *Probe) measure(ctx context.Context, s *scene, pids func() []int, window time.Duration) (r Result, err error) {
	if err := s.add(pids()); err != nil || len(s.backends) == 0 {
		return r, err
	}
	if err := p.reset(); err != nil {
		return r, err
	}
	defer func() {
		if cerr := p.attacher.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("detaching: %w", cerr)
		}
	}()
	if r.Unprobed, err = p.attach(s); err != nil {
		return r, err
	}
	if err := probe.Ready(ctx); err != nil {
		return r, err
	}
	start, err := probe.Monotonic()
	if err != nil {
		return r, err
	}
	r.Start, r.Window = time.Now(), window
	end := start + window
	if err := errors.Join(p.objs.WindowEnd.Set(uint64(end)), p.objs.WindowStart.Set(uint64(start))); err != nil {
		return r, err
	}
	if err := s.add(pids()); err != nil { // those that were born meanwhile
		return r, err
	}
	w := &watch{scene: s, start: start, end: end, seen: map[int]*sighting{}}
	for next := start; next < end; next += sampleEvery {
		if err := probe.WaitUntil(ctx, next); err != nil {
			return r, err
		}
		if err := w.sample(p); err != nil {
			return r, err
		}
	}
	if err := probe.WaitUntil(ctx, end); err != nil {
		return r, err
	}
	if err := w.sample(p); err != nil {
		return r, err
	}
	return r, p.read(&r, w)
}
