package respond

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"

	"github.com/kmend/kmend/internal/store"
)

// errLapsed: this replica has not heard from its database for so long that another
// one may soon take its incidents over. It stops acting before that.
var errLapsed = errors.New("the lease of this replica has lapsed: its database was not reached in time")

// lease is the time until which no other replica can have taken this one for dead.
// Only this process' own clock counts, from before the beat was sent.
type lease struct {
	alone bool // nobody else can be at work on the database

	mu    sync.Mutex
	until time.Time
	gone  bool
	lost  chan struct{} // closed when another replica has taken over
}

func newLease(alone bool) *lease { return &lease{alone: alone, lost: make(chan struct{})} }

func (l *lease) renew(until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = until
}

// left is for how long this replica may act; nothing when it may not. The clock on
// the wall counts too: the other one stands still while a machine is suspended.
func (l *lease) left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch now := time.Now(); {
	case l.gone:
		return 0
	case l.alone:
		return time.Hour
	default:
		return min(l.until.Sub(now), l.until.Round(0).Sub(now.Round(0)))
	}
}

// lose is for good; first is whether it was not lost before.
func (l *lease) lose() (first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return false
	}
	l.gone = true
	close(l.lost)
	return true
}

// during is ctx for what may be done under the lease only: it ends, with
// errLapsed, when the lease does.
func (l *lease) during(ctx context.Context) (held context.Context, release func(), err error) {
	left := l.left()
	if left <= 0 {
		return nil, nil, errLapsed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	over := make(chan struct{})
	go func() {
		for t := time.NewTimer(left); ; t.Reset(left) {
			select {
			case <-over:
				t.Stop()
				return
			case <-l.lost:
			case <-t.C:
			}
			if left = l.left(); left <= 0 {
				cancel(errLapsed)
				return
			}
		}
	}()
	return ctx, func() { close(over); cancel(nil) }, nil
}

// Lost is closed when another replica has taken this one for dead and has its
// incidents. Everything here has stopped acting then; the process must end.
func (r *Responder) Lost() <-chan struct{} { return r.lease.lost }

// lose says once that the incidents are another replica's.
func (r *Responder) lose(err error) {
	if r.lease.lose() {
		r.Logger.Error("another replica has taken over: nothing is acted on any more, and this one has to be started again", "replica", r.ExecutorID, "error", err)
	}
}

// sighting is when a life of another replica was heard of last.
type sighting struct {
	beats int64
	at    time.Time
}

// keepLease beats, and hears what was said to other replicas, until ctx ends.
func (r *Responder) keepLease(ctx context.Context) {
	for sleep(ctx, r.DeadAfter/8) == nil {
		err := r.renewLease(ctx)
		if errors.Is(err, store.ErrLost) {
			r.lose(err)
			return
		}
		if err == nil {
			err = r.hear(ctx)
		}
		if err != nil && ctx.Err() == nil {
			r.Logger.Error("the lease is renewed later", "replica", r.ExecutorID, "left", r.lease.left().String(), "error", err)
		}
	}
}

func (r *Responder) renewLease(ctx context.Context) error {
	from := time.Now()
	if err := r.Store.Beat(ctx); err != nil {
		return err
	}
	r.lease.renew(from.Add(r.DeadAfter * 5 / 8))
	return nil
}

// hear wakes the workflows about whose incidents something was said to another
// replica: the person's answer, or that the alert resolved.
func (r *Responder) hear(ctx context.Context) error {
	closed, answered, err := r.Store.Told(ctx, time.Now().Add(-time.Minute))
	if err != nil {
		return err
	}
	for _, id := range closed {
		r.running.interrupt(id, store.ErrClosed)
		r.bells.ring(id)
	}
	for _, id := range answered {
		r.bells.ring(id)
	}
	return nil
}

// watchOthers takes over the replicas that stopped, and those that were not heard
// of for DeadAfter while this one reached the database all the time.
func (r *Responder) watchOthers(ctx context.Context) {
	seen := map[string]sighting{}
	for sleep(ctx, r.DeadAfter/8) == nil {
		if err := r.watch(ctx, seen); err != nil && ctx.Err() == nil {
			// They may not reach the database either: what was seen says nothing.
			clear(seen)
			r.Logger.Error("who else is up is looked at later", "error", err)
		}
	}
}

func (r *Responder) watch(ctx context.Context, seen map[string]sighting) error {
	bounded, cancel := context.WithTimeout(ctx, r.DeadAfter/4) // a slow answer is an old one
	defer cancel()
	peers, err := r.Store.Peers(bounded)
	if err != nil {
		return err
	}
	now := time.Now()
	for _, p := range peers {
		last, known := seen[p.Life()]
		if !known || last.beats != p.Beats {
			last = sighting{p.Beats, now}
			seen[p.Life()] = last
		}
		if !p.Gone && now.Sub(last.at) < r.DeadAfter {
			continue
		}
		if err := r.takeOver(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// takeOver has the workflows of a dead replica resumed by whoever is alive, and
// starts those that it had not come to start.
func (r *Responder) takeOver(ctx context.Context, dead store.Replica) error {
	resumed := 0
	taken, err := r.Store.TakeOver(ctx, dead, func(context.Context) error {
		pending, err := dbos.ListWorkflows(r.engine, dbos.WithFilterStatus(dbos.WorkflowStatusPending), dbos.WithFilterExecutorIDs(dead.Executor),
			dbos.WithFilterLoadInput(false), dbos.WithFilterLoadOutput(false))
		if err != nil {
			return fmt.Errorf("looking for its workflows: %w", err)
		}
		ids := make([]string, 0, len(pending))
		for _, w := range pending {
			ids = append(ids, w.ID)
		}
		resumed = len(ids)
		_, err = dbos.ResumeWorkflows[any](r.engine, ids)
		return err
	})
	if !taken || err != nil {
		return err
	}
	r.Logger.Warn("another replica has ended; its incidents are taken over", "replica", dead.Executor, "workflows", resumed, "stopped", dead.Gone)
	return r.sweep(ctx, nil)
}
