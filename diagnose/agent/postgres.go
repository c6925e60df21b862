package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kmend/kmend/bpf/postgres"
	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/incident"
)

// topDatabaseWaits are reported one by one.
const topDatabaseWaits = 8

// databases is the instrument of db.lock_wait. Its evidence is listed at the top
// of diagnose/cause/database.go.
type databases struct{ probe *postgres.Probe }

func loadDatabases(m *probe.Members) (measurer, error) {
	p, err := postgres.Load(postgres.DefaultOptions(), m)
	if err != nil {
		return nil, err
	}
	return databases{p}, nil
}

func (d databases) Close() error { return d.probe.Close() }

func (d databases) Measure(ctx context.Context, s subject, window time.Duration) (reading, error) {
	r, err := d.probe.Measure(ctx, s.proc, s.pids, window)
	switch {
	case err != nil:
		return reading{}, err
	case r.Backends == 0:
		return reading{idle: "no process of the target runs PostgreSQL"}, nil
	case r.Unprobed != "" && r.Unread != "":
		return reading{}, errors.New("measuring PostgreSQL: " + r.Unprobed + ", and " + r.Unread)
	}
	why := r.Unprobed
	if why == "" {
		why = r.Unread
	}
	return reading{evidence: databaseEvidence(r), lost: r.Lost, idle: why}, nil
}

func databaseEvidence(r postgres.Result) (out []incident.Evidence) {
	add := func(metric, subject string, value float64, unit string) {
		out = append(out, incident.Evidence{Metric: metric, Subject: printable(subject), Value: value, Unit: unit})
	}
	var waited, ran, sampled uint64
	seen := map[int]bool{}
	for _, w := range r.Waits {
		waited += w.NS
		ran += min(w.RanNS, w.NS)
		if !seen[w.PID] { // it counts for all waits of the backend
			sampled += w.SampledNS
		}
		seen[w.PID] = true
	}
	add("backends", "", float64(r.Backends), "processes")
	add("waiters", "", float64(len(seen)), "processes")
	add("waited", "", millis(waited), "ms")
	add("waited_ran", "", millis(ran), "ms")
	if r.Unread == "" {
		add("waited_sampled", "", millis(sampled), "ms")
	}
	for _, w := range r.Waits[:min(len(r.Waits), topDatabaseWaits)] {
		if w.NS < uint64(time.Millisecond) {
			break
		}
		add("lock_wait", fmt.Sprintf("%d %s %s %s", w.PID, w.Lock.TypeName(), w.Lock.ModeName(), w.Lock.Object()), millis(w.NS), "ms")
		add("lock_waits", fmt.Sprintf("%d %s %s", w.PID, w.Lock.TypeName(), w.Lock.ModeName()), float64(w.Count), "waits")
		addHolder := func(metric string, h postgres.Holder) {
			switch {
			case h.Prepared:
				add(metric, fmt.Sprintf("%d prepared", w.PID), millis(w.NS), "ms")
			case h.PID != 0:
				add(metric, fmt.Sprintf("%d %d %s", w.PID, h.PID, h.Doing), millis(w.NS), "ms")
			}
		}
		if w.Holder.Queued {
			addHolder("lock_queue", w.Holder)
		} else {
			addHolder("lock_holder", w.Holder)
		}
		if w.Root != w.Holder {
			addHolder("lock_root", w.Root)
		}
	}
	return out
}
