package threads

import (
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/test/rig"
)

// watch samples the kernel's own account of a group on one CPU until stopped. The
// kernel adds a throttle up when it ends, so what it says about a stretch of time
// lies between two bounds. A host that holds this machine back makes them wider:
// each sample knows when its reading began and when it was over.
func watch(g *rig.Group) (stop func(from, to time.Time) (least, most float64)) {
	const period = 100 * time.Millisecond
	type sample struct {
		began, over time.Time
		ms          float64
	}
	var samples []sample
	end, ended := make(chan time.Time, 1), make(chan struct{})
	go func() {
		defer close(ended)
		for until := time.Now().Add(time.Hour); ; {
			s := sample{began: time.Now(), ms: g.ThrottledMS()}
			s.over = time.Now()
			if samples = append(samples, s); s.began.After(until) {
				return
			}
			select {
			case to := <-end: // what began before this has ended some periods later
				until = to.Add(5 * period)
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func(from, to time.Time) (least, most float64) {
		end <- to
		<-ended
		inside := func(begin, end time.Time) float64 {
			if begin.Before(from) {
				begin = from
			}
			if end.After(to) {
				end = to
			}
			return max(0, millis(end.Sub(begin)))
		}
		for i, s := range samples[1:] {
			// Throttles that ended between two samples lasted as long as the figure grew.
			grown := s.ms - samples[i].ms
			if grown <= 0 {
				continue
			}
			lasted := time.Duration(grown * float64(time.Millisecond))
			first, last := samples[i].began, s.over // the earliest and the latest end
			least += min(grown, max(0, grown-max(0, millis(from.Sub(first.Add(-lasted))))-max(0, millis(last.Sub(to)))))
			most += min(grown, inside(first.Add(-lasted), last))
		}
		return least, most
	}
}

func of(g *rig.Group) probe.Target { return probe.Target{Cgroups: []string{g.Path}} }
