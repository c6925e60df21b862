package recorder

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	probe "github.com/kmend/kmend/bpf/recorder"
	"golang.org/x/sys/unix"
)

// source is bpf/recorder.
type source interface {
	Read(*probe.Sample) error
	Open() ([]probe.Wait, error)
	Close() error
}

// Recorder records from New to Close. It is safe for concurrent use.
type Recorder struct {
	o     Options
	names names
	sent  outgoing

	mu     sync.Mutex
	source source
	store  *store
	sample probe.Sample
}

// New attaches the recorder; Run reads it. The error may be an
// UnsupportedError of bpf/probe.
func New(o Options) (*Recorder, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("recorder options: %w", err)
	}
	s, err := newStore(o)
	if err != nil {
		return nil, err
	}
	r := &Recorder{o: o, store: s, sent: outgoing{proc: o.Proc, dir: o.Dir}}
	if r.source, err = o.load(o.Probe); err != nil {
		return nil, errors.Join(err, s.arena.close())
	}
	r.names.open(o.Dir)
	return r, nil
}

// Run reads once a second until ctx ends or Close, and returns nil then. After an error
// nothing more is recorded; what is there can still be asked for.
func (r *Recorder) Run(ctx context.Context) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		switch err := r.Read(); {
		case errors.Is(err, errClosed):
			return nil
		case err != nil:
			return fmt.Errorf("flight recorder: %w", err)
		}
	}
}

// Read takes one sample. Run calls it.
func (r *Recorder) Read() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.source == nil {
		return errClosed
	}
	if err := r.source.Read(&r.sample); err != nil {
		return err
	}
	shift, err := bootShift()
	if err != nil {
		return err
	}
	r.store.add(&r.sample, shift, r.names.path, r.sent.since(&r.sample, r.names.path))
	return nil
}

var errClosed = errors.New("the recorder is closed")

// Close detaches the recorder and forgets everything. Closing twice is harmless.
func (r *Recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.source == nil {
		return nil
	}
	err := errors.Join(r.source.Close(), r.store.arena.close())
	r.source, r.store = nil, nil
	r.names.close()
	return err
}

// Cost is what the recorder's programs have taken inside the kernel and how often
// they ran, counted while kernel.bpf_stats_enabled is on.
func (r *Recorder) Cost() (took time.Duration, runs uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.source.(interface {
		RunTime() (time.Duration, uint64, error)
	})
	if !ok {
		return 0, 0, errClosed
	}
	return p.RunTime()
}

// bootShift is CLOCK_BOOTTIME minus CLOCK_MONOTONIC.
func bootShift() (time.Duration, error) {
	boot, err := clock(unix.CLOCK_BOOTTIME)
	if err != nil {
		return 0, err
	}
	mono, err := clock(unix.CLOCK_MONOTONIC)
	return boot - mono, err
}

func clock(id int32) (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0, fmt.Errorf("reading clock %d: %w", id, err)
	}
	return time.Duration(ts.Nano()), nil
}
