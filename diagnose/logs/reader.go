package logs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kmend/kmend/diagnose/investigate"
	"github.com/kmend/kmend/incident"
)

// Reader asks one store what a target wrote. It is one of investigate's observers.
type Reader struct{ opts Options }

// New checks the options.
func New(o Options) (*Reader, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("options of the log reader: %w", err)
	}
	return &Reader{o}, nil
}

// Name is the store's.
func (r *Reader) Name() string { return r.opts.Store.Name() }

// Observe reads the lines around the measured window and those before, side by
// side. Where the lines before are not to be had, that is said and nothing is new.
func (r *Reader) Observe(ctx context.Context, inc incident.Incident) (investigate.Observed, error) {
	d := inc.Diagnosis
	if d == nil {
		return investigate.Observed{}, errors.New("nothing was diagnosed")
	}
	t := inc.Aim().Over(d.Target)
	late := fmt.Errorf("no answer within %s", r.opts.Timeout)
	asking, cancel := context.WithTimeoutCause(ctx, r.opts.Timeout, late)
	defer cancel()
	found := reading{around: r.opts.Before + d.Window.End().Sub(d.Window.Start)}
	from := d.Window.Start.Add(-r.opts.Before)
	var wg sync.WaitGroup
	wg.Go(func() {
		var err error
		defer func() {
			if v := recover(); v != nil {
				found.before.Cut, found.before.Note = true, fmt.Sprintf("internal error: panic: %v", v)
			}
		}()
		if found.before, err = r.batch(asking, Query{Target: t, From: from.Add(-r.opts.Baseline), To: from}); err != nil {
			found.before.Cut, found.before.Note = true, err.Error()
		}
	})
	now, err := r.batch(asking, Query{Target: t, From: from, To: d.Window.End()})
	wg.Wait()
	if errors.Is(err, ErrNotAsked) {
		return investigate.Observed{Observations: []incident.Observation{{Source: r.Name(), Kind: account, Message: err.Error()}}}, nil
	}
	if err != nil {
		return investigate.Observed{}, err
	}
	found.now = now
	return r.say(ctx, found, *d), nil
}

// reading is what the store gave.
type reading struct {
	now, before Batch
	around      time.Duration // how long now is
}

// batch asks for the latest lines and, where that is not all there is, for those
// that name trouble.
func (r *Reader) batch(ctx context.Context, q Query) (Batch, error) {
	q.Limit = r.opts.Limit
	b, err := r.lines(ctx, q)
	if err != nil || !b.Cut {
		return b, err
	}
	q.Trouble = true
	more, err := r.lines(ctx, q)
	if err != nil {
		b.Note = err.Error() // what came counts
	}
	there := make(map[string]bool, len(b.Lines))
	for _, l := range b.Lines {
		there[l.ID] = true
	}
	for _, l := range more.Lines {
		if !there[l.ID] {
			b.Lines = append(b.Lines, l)
		}
	}
	return b, nil
}

// lines asks one question. The limit holds here, too, whatever the store does.
func (r *Reader) lines(ctx context.Context, q Query) (Batch, error) {
	start := time.Now()
	b, err := r.opts.Store.Lines(ctx, q)
	b.Lines = b.Lines[:min(len(b.Lines), q.Limit)]
	if errors.Is(err, ErrNotAsked) {
		return b, err
	}
	r.opts.Metrics.observe(r.Name(), time.Since(start), len(b.Lines), err)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx) // which limit of time it was
	}
	return b, err
}
