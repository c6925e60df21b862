package threads

import (
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/test/rig"
)

// watch samples the kernel's own account of a group until stopped. The kernel adds a throttle up when it
// ends, one period later at most, so what it says about a stretch of time lies
// between two bounds.
func watch(g *rig.Group) (stop func(from, to time.Time) (least, most float64)) {
	const period = 100 * time.Millisecond
	type sample struct {
		at time.Time
		ms float64
	}
	var samples []sample
	end, ended := make(chan time.Time, 1), make(chan struct{})
	go func() {
		defer close(ended)
		for until := time.Now().Add(time.Hour); ; {
			s := sample{time.Now(), g.ThrottledMS()}
			if samples = append(samples, s); s.at.After(until) {
				return
			}
			select {
			case to := <-end:
				until = to.Add(period + 20*time.Millisecond)
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func(from, to time.Time) (least, most float64) {
		end <- to
		<-ended
		first, last := samples[0].ms, samples[len(samples)-1].ms
		after, before := last, first // the sample next to from, and next to to, inside
		for i := len(samples) - 1; i >= 0 && !samples[i].at.Before(from); i-- {
			after = samples[i].ms
		}
		for _, s := range samples {
			if s.at.Before(from) {
				first = s.ms
			}
			if s.at.Before(to) {
				before = s.ms
			}
			if s.at.After(to.Add(period)) {
				last = s.ms
				break
			}
		}
		return max(0, before-after-millis(period)), last - first
	}
}

func of(g *rig.Group) probe.Target { return probe.Target{Cgroups: []string{g.Path}} }
