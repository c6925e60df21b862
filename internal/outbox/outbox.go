// Package outbox is the way out of the flow: it calls for every incident that has
// changed, one after the other, at a rate that the receiver takes, and again where
// the receiver did not. What there is to send, who sends it reads; what was sent it
// writes down: after a restart it begins with what is not.
package outbox

import (
	"context"
	"time"
)

// Result is what came of one turn.
type Result struct {
	Sent    bool          // the receiver was asked; the next turn is Interval later
	Err     error         // again, each time after twice as long
	Limited bool          // with Err: the receiver wants less; everything waits
	After   time.Duration // how long at least until the next turn, or, with Err, until this one again
}

// Pace is how fast an Outbox goes.
type Pace struct {
	Interval time.Duration // the least time between two turns that sent something
	Retry    time.Duration // how long what failed waits, the first time; up to a minute
}

// Outbox holds each incident once, however often it changes. Its methods may be
// called concurrently; Run is called once.
type Outbox struct{ queue queue }

// New makes an Outbox.
func New() *Outbox { return &Outbox{newQueue()} }

// Changed says that an incident has changed. It returns at once; several changes
// before its turn comes are one. Urgent ones come first: a person is asked.
func (o *Outbox) Changed(id string, urgent bool) { o.queue.add(id, urgent) }

// Run calls send for each incident until ctx ends.
func (o *Outbox) Run(ctx context.Context, pace Pace, send func(ctx context.Context, id string, again time.Duration) Result) {
	for {
		j, ok := o.queue.next(ctx)
		if !ok {
			return
		}
		wait := min(pace.Retry<<min(j.failures, 10), time.Minute)
		r := send(ctx, j.id, wait)
		pause := pace.Interval
		switch {
		case ctx.Err() != nil:
			return
		case r.Limited:
			pause = max(pause, r.After)
			o.queue.again(j, 0)
		case r.Err != nil:
			o.queue.again(j, max(wait, r.After))
		}
		if !r.Sent {
			continue
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}

// sleep reports whether it slept for d; ctx ended otherwise.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
