package traces

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// What is abnormal, chosen. A service is slow where its own time is at least
// slowFactor of what it was before and slowMore more, and slowShare of all that
// the services are slower by. Without a baseline its own time has to be
// aloneShare of the whole. It fails where failShare of the requests that fail
// fail there first, and twice the share of before; where they recover, of all.
const (
	slowFactor = 2.0
	slowMore   = 5.0 // ms
	slowShare  = 0.2
	aloneShare = 0.4
	failShare  = 0.2
)

// Analyse finds the way from the service, which may have several names, in the
// traces of the alert's window, compared with those from before it.
func Analyse(services []string, now, before [][]Span) Way {
	visits, earlier := visitsOf(services, now), visitsOf(services, before)
	if len(visits) == 0 {
		return Way{Message: fmt.Sprintf("none of %d traces has a span of %s", len(now), list(services))}
	}
	var took, slower float64
	var failed int
	judged := make(map[string]*judgement, len(visits))
	for key, v := range visits {
		j := judge(v, earlier[key])
		judged[key] = j
		if j.known {
			slower += j.excess
		}
		if len(v.way) == 1 {
			for _, s := range v.stays {
				took += millis(s.entry.Duration)
				if s.failed {
					failed++
				}
			}
		}
	}
	var worst *judgement
	for _, key := range slices.Sorted(maps.Keys(judged)) { // what is equal is taken in the same order each time
		j := judged[key]
		if j.weigh(took, slower, failed); (j.slow || j.fails) && (worst == nil || j.compare(worst) > 0) {
			worst = j
		}
	}
	return told(judged, worst, len(now), len(before))
}

// visit is a service at one place of the way, "front, cart", in all traces.
type visit struct {
	way   []string
	stays []stay
	roots int // requests that came here
}

// stay is a call, and that of the alert's service which led to it.
type stay struct {
	*call
	root *call
}

func visitsOf(services []string, traces [][]Span) map[string]*visit {
	names := map[string]bool{}
	for _, s := range services {
		names[s] = true
	}
	all := map[string]*visit{}
	var root *call
	var walk func(c *call, way []string)
	walk = func(c *call, way []string) {
		way = append(slices.Clip(way), c.service)
		key := place(way)
		v := all[key]
		if v == nil {
			v = &visit{way: way}
			all[key] = v
		}
		if len(v.stays) == 0 || v.stays[len(v.stays)-1].root != root {
			v.roots++
		}
		v.stays = append(v.stays, stay{c, root})
		for _, next := range c.calls {
			walk(next, way)
		}
	}
	for _, t := range traces {
		for _, root = range begin(t, names) {
			walk(root, nil)
		}
	}
	return all
}

// place is a way as a key.
func place(way []string) string { return strings.Join(way, "\x00") }

// judgement is what is wrong with a visit.
type judgement struct {
	*visit
	known      bool    // it was there before
	own, usual float64 // ms of own time, medians
	excess     float64 // ms by which it is slower, all calls
	share      float64 // of what all are slower by, or of the whole
	// Requests in which a failure begins here, those among them that failed as a
	// whole, and their share before.
	failures, fatal int
	failedBefore    float64
	slow, fails     bool
}

// judge measures a visit against what was before: each call against those of its
// operation, so that a rare and heavy one is not slow for being sampled more.
func judge(v, before *visit) *judgement {
	j := &judgement{visit: v, known: before != nil}
	var all float64
	normal := map[string]float64{}
	if before != nil {
		operations := map[string][]float64{}
		var every []float64
		for _, s := range before.stays {
			operations[s.entry.Name] = append(operations[s.entry.Name], s.ms())
			every = append(every, s.ms())
		}
		for name, times := range operations {
			normal[name] = median(times)
		}
		all = median(every)
		failures, _ := failing(before)
		j.failedBefore = float64(failures) / float64(before.roots)
	}
	var own, usual []float64
	for _, s := range v.stays {
		expected, ok := normal[s.entry.Name]
		if !ok {
			expected = all
		}
		own, usual = append(own, s.ms()), append(usual, expected)
		j.excess += max(0, s.ms()-expected)
	}
	j.own, j.usual = median(own), median(usual)
	j.failures, j.fatal = failing(v)
	return j
}

// failing counts the requests in which a failure begins at v.
func failing(v *visit) (failures, fatal int) {
	var last *call
	for _, s := range v.stays {
		if s.failed && !s.blames && s.root != last {
			last = s.root
			failures++
			if s.root.failed {
				fatal++
			}
		}
	}
	return failures, fatal
}

// weigh says whether it is abnormal: of requests that took so many ms in all, are
// slower by so many, and of which so many failed.
func (j *judgement) weigh(took, slower float64, failed int) {
	whole, least := slower, slowShare
	if !j.known {
		whole, least = took, aloneShare
	}
	if whole > 0 {
		j.share = j.excess / whole
	}
	j.slow = j.share >= least && j.own >= j.usual+slowMore && j.own >= slowFactor*j.usual
	n, of := j.fatal, failed
	if failed == 0 && j.known {
		n, of = j.failures, j.roots
	}
	j.fails = n > 0 && float64(n) >= failShare*float64(of) && float64(j.failures)/float64(j.roots) >= 2*j.failedBefore
}

// compare puts the one further down first, then the one that matters more.
func (j *judgement) compare(o *judgement) int {
	return cmp.Or(cmp.Compare(len(j.way), len(o.way)), cmp.Compare(j.share, o.share), cmp.Compare(j.failures, o.failures))
}

func median(of []float64) float64 {
	if len(of) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(of))[len(of)/2]
}

func millis(ns int64) float64 { return float64(ns) / 1e6 }

func list(services []string) string {
	out := make([]string, len(services))
	for i, s := range services {
		out[i] = shown(s)
	}
	return strings.Join(out, " or ")
}
