package traces

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/kmend/kmend/incident"
)

// Way is how requests go from the alert's service to the furthest one downstream
// that is abnormal.
type Way struct {
	// Stops begin with the alert's service. The last is abnormal; none is: nothing
	// is, and Message says what was looked at.
	Stops   []Stop
	Message string
}

// Stop is one service of a Way.
type Stop struct {
	Service string // fit to be shown
	// Target is the instance of it that took longest, as far as its spans say; zero:
	// they do not. Address is its address, where only its caller's spans say something.
	Target  incident.Target
	Address netip.AddrPort
	// Why is what its spans say: "own time 210 ms, before 4 ms (12 requests)".
	Why      string
	Evidence []incident.Evidence // without ids and probe
}

// examples is how many traces are named for a service.
const examples = 2

func told(judged map[string]*judgement, worst *judgement, now, before int) Way {
	said := fmt.Sprintf("%d slow or failing traces, %d from before", now, before)
	if worst == nil {
		return Way{Message: said + ": no service in them is abnormal"}
	}
	w := Way{Message: said}
	names := make([]string, len(worst.way))
	for i := range worst.way {
		stop := judged[place(worst.way[:i+1])].stop()
		names[i] = stop.Service
		w.Stops = append(w.Stops, stop)
	}
	w.Message += ": " + strings.Join(names, " -> ")
	return w
}

// stop says what there is to say of a visit.
func (j *judgement) stop() Stop {
	stays := slices.Clone(j.stays)
	slices.SortStableFunc(stays, func(a, b stay) int { return cmp.Compare(b.ms(), a.ms()) })
	s := Stop{Service: shown(j.way[len(j.way)-1])}
	s.Target, s.Address = j.instance()
	add := func(metric, subject string, value float64, unit string) {
		s.Evidence = append(s.Evidence, incident.Evidence{Metric: metric, Subject: subject, Value: math.Round(value*1000) / 1000, Unit: unit})
	}
	own := "own time"
	if stays[0].silent {
		own = "its caller waited"
	}
	s.Why = fmt.Sprintf("slow or failing requests go there: %s %.1f ms", own, j.own)
	add("requests", s.Service, float64(j.roots), "requests")
	add("own_time", s.Service, j.own, "ms")
	if j.known {
		s.Why += fmt.Sprintf(", before %.1f ms", j.usual)
		add("own_time_before", s.Service, j.usual, "ms")
	}
	s.Why += fmt.Sprintf(" (%d requests)", j.roots)
	if j.failures > 0 {
		s.Why += fmt.Sprintf(", %d fail there first", j.failures)
		add("failures", s.Service, float64(j.failures), "requests")
	}
	named := map[string]bool{}
	for _, stay := range stays {
		if id := stay.entry.Trace; !named[id] && len(named) < examples {
			named[id] = true
			add("trace", id, millis(stay.entry.Duration), "ms")
		}
	}
	return s
}

// instance is where the calls took longest, of all the instances that spans name.
func (j *judgement) instance() (worst incident.Target, address netip.AddrPort) {
	times := map[incident.Target]float64{}
	addresses := map[netip.AddrPort]float64{}
	for _, s := range j.stays {
		if s.silent {
			_, at := peer(s.entry.Attributes)
			addresses[at] += s.ms()
		} else {
			times[target(s.entry.Attributes)] += s.ms()
		}
	}
	return longest(times), longest(addresses)
}

// longest is the key with the greatest value that says anything.
func longest[K comparable](times map[K]float64) (best K) {
	var none K
	for k, ms := range times {
		if k != none && (best == none || ms > times[best] || ms == times[best] && fmt.Sprint(k) < fmt.Sprint(best)) {
			best = k
		}
	}
	return best
}
