package outbox

import (
	"context"
	"sync"
	"time"
)

// job is an incident whose message may be out of date.
type job struct {
	id       string
	urgent   bool
	number   int       // in the order of their coming
	due      time.Time // not before
	failures int
}

// queue holds each incident once, however often it changes.
type queue struct {
	mu     *sync.Mutex
	jobs   map[string]job
	number *int
	bell   chan struct{} // holds one ring
}

func newQueue() queue {
	return queue{&sync.Mutex{}, map[string]job{}, new(int), make(chan struct{}, 1)}
}

func (q queue) add(id string, urgent bool) {
	q.mu.Lock()
	j, there := q.jobs[id]
	if !there {
		*q.number++
		j = job{id: id, number: *q.number}
	}
	j.urgent = j.urgent || urgent
	q.jobs[id] = j
	q.mu.Unlock()
	q.ring()
}

// again puts a job back that was not done; what was added meanwhile is one with it.
func (q queue) again(j job, wait time.Duration) {
	j.failures++
	j.due = time.Now().Add(wait)
	q.mu.Lock()
	if newer, there := q.jobs[j.id]; there {
		j.urgent = j.urgent || newer.urgent
	}
	q.jobs[j.id] = j
	q.mu.Unlock()
	q.ring()
}

func (q queue) ring() {
	select {
	case q.bell <- struct{}{}:
	default:
	}
}

// next waits for a job and takes it out; ok is false when ctx ended.
func (q queue) next(ctx context.Context) (j job, ok bool) {
	for {
		j, wait := q.pick(time.Now())
		if wait == 0 {
			return j, true
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-q.bell:
		case <-ctx.Done():
			t.Stop()
			return job{}, false
		}
		t.Stop()
	}
}

// pick takes the first job that is due, urgent ones first; wait is how long there
// is none.
func (q queue) pick(now time.Time) (best job, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	wait = time.Hour
	found := false
	for _, j := range q.jobs {
		switch {
		case j.due.After(now):
			wait = min(wait, j.due.Sub(now))
		case !found, j.urgent && !best.urgent, j.urgent == best.urgent && j.number < best.number:
			best, found = j, true
		}
	}
	if !found {
		return job{}, wait
	}
	delete(q.jobs, best.id)
	return best, 0
}
