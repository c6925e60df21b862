package recorder

import (
	"errors"
	"fmt"
	"math"
	"time"

	probe "github.com/kmend/kmend/bpf/recorder"
	"golang.org/x/sys/unix"
)

// MinWindow is two buckets: in one, what falls on its edges decides.
const MinWindow = 2 * interval

// ErrNotKept is the error about a window that the recorder has not got, or not
// the whole of; its text says what there is.
var ErrNotKept = errors.New("not recorded")

type notKept string

func (e notKept) Error() string { return string(e) }
func (notKept) Unwrap() error   { return ErrNotKept }

// Sum is what one cgroup did in a window.
type Sum struct {
	Cgroup uint64
	Path   string // of its directory below the mount of the hierarchy, gone or not; "" if it was never known
	// States is the time of its threads in each of the states of bpf/recorder.
	States [probe.NumStates]time.Duration

	Switches, Requests, Retransmits, Reclaims, OOMKills uint64
	// RequestTime is that of Requests, added up. Of the root there are those of all
	// kernel threads, too.
	RequestTime, KernelRequestTime time.Duration
	KernelRequests                 uint64

	// Stalled is how long connections had stalled when they sent again, counted when
	// a stall ends. Segments is what the network namespace sent in the seconds for
	// which that is known, others' and acknowledgements among them, and Counted the
	// retransmits in those.
	Stalled           time.Duration
	Segments, Counted uint64

	Quota         float64 // CPUs, at the end of the window; 0: none
	Period        time.Duration
	Periods       uint64 // with something to run
	Limited       uint64 // of those, in which the quota was used up
	ThrottledTime time.Duration
}

// Active is the sum over States.
func (s Sum) Active() (sum time.Duration) {
	for _, d := range s.States {
		sum += d
	}
	return sum
}

// Window is what was recorded between two times. It begins and ends with a
// bucket: it is up to two seconds longer than what was asked for.
type Window struct {
	From, To time.Time
	Groups   []Sum // those that did anything, in no order
	// Threads of the target that were active for 2% of a second, in the second that
	// had most of them.
	Threads int
	Victims []Victim
	Lost    uint64
}

// Victim is a process that the OOM killer ended in the window.
type Victim struct {
	probe.Victim
	Path  string        // of its group, as in Sum
	After time.Duration // the begin of the window
}

// Window adds up what lies between two wall times. target says which cgroups
// Window.Threads is about, by number and path; it is called with the lock held.
// A window that is not (wholly) kept is ErrNotKept.
func (r *Recorder) Window(from, to time.Time, target func(id uint64, path string) bool) (Window, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.source == nil {
		return Window{}, errClosed
	}
	boot, err := clock(unix.CLOCK_BOOTTIME)
	if err != nil {
		return Window{}, err
	}
	wall := time.Now().Add(-boot) // of the time 0 of CLOCK_BOOTTIME
	first, end, err := r.store.find(from.Sub(wall), to.Sub(wall), wall)
	if err != nil {
		return Window{}, err
	}
	open, err := r.source.Open()
	if err != nil {
		return Window{}, err
	}
	shift, err := bootShift()
	if err != nil {
		return Window{}, err
	}
	waits := r.store.waits
	for _, w := range open {
		waits = append(waits[:len(waits):len(waits)], wait{w.Cgroup, states[w.State], span{w.Begin + shift, w.End + shift}})
	}
	w := r.store.sum(first, end, waits, target, r.names.path)
	at := span{r.store.spans[first-r.store.first].from, r.store.spans[end-1-r.store.first].to}
	w.From, w.To = wall.Add(at.from), wall.Add(at.to)
	return w, nil
}

// Kept is the time that can be asked about. ok is false when there is none yet.
func (r *Recorder) Kept() (from, to time.Time, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	boot, err := clock(unix.CLOCK_BOOTTIME)
	if r.source == nil || err != nil {
		return from, to, false
	}
	first := r.store.oldest()
	if len(r.store.spans) <= first {
		return from, to, false
	}
	wall := time.Now().Add(-boot)
	return wall.Add(r.store.spans[first].from), wall.Add(r.store.spans[len(r.store.spans)-1].to), true
}

// oldest is the index of the first span of which everything is kept.
func (s *store) oldest() int {
	if s.gone > s.first {
		return int(s.gone - s.first)
	}
	return 0
}

// slack of a window's edges: the wall clock is read a moment after the buckets'.
const slack = 50 * time.Millisecond

// find gives the samples first, ..., end-1 that cover a window on CLOCK_BOOTTIME.
// wall is for what the error says.
func (s *store) find(from, to time.Duration, wall time.Time) (first, end uint32, err error) {
	old := s.oldest()
	if len(s.spans) <= old {
		return 0, 0, notKept("the flight recorder has just been started: nothing is recorded yet")
	}
	has := span{s.spans[old].from, s.spans[len(s.spans)-1].to}
	// The last bucket is not over: what is asked until now ends with the one before.
	if to > has.to && to <= has.to+2*interval {
		to = has.to
	}
	at := func(t time.Duration) string { return wall.Add(t).Local().Format("15:04:05") }
	switch {
	case to-from < MinWindow-slack:
		return 0, 0, notKept(fmt.Sprintf("a recorded window is at least %s long; asked for %s", MinWindow, (to - from).Round(time.Millisecond)))
	case from < has.from-interval, to > has.to+slack:
		return 0, 0, notKept(fmt.Sprintf("the flight recorder has %s to %s, and was asked for %s to %s", at(has.from), at(has.to), at(from), at(to)))
	}
	i, j := old, len(s.spans)
	for i < j-1 && s.spans[i].to <= from+slack {
		i++
	}
	for j > i+1 && s.spans[j-1].from >= to-slack {
		j--
	}
	return s.first + uint32(i), s.first + uint32(j), nil
}

// sum adds up the samples first, ..., end-1 and what of the waits lies in them.
func (s *store) sum(first, end uint32, waits []wait, target func(uint64, string) bool, path func(uint64) string) Window {
	var w Window
	at := span{s.spans[first-s.first].from, s.spans[end-1-s.first].to}
	active := make([]uint64, end-first) // threads of the target, by sample
	of := map[uint64]int{}
	sumOf := func(id uint64) *Sum {
		i, ok := of[id]
		if !ok {
			i = len(w.Groups)
			of[id] = i
			w.Groups = append(w.Groups, Sum{Cgroup: id})
			if g := s.groups[id]; g != nil {
				w.Groups[i].Path = g.path
			} else {
				w.Groups[i].Path = path(id)
			}
		}
		return &w.Groups[i]
	}
	for id, g := range s.groups {
		mine := target(id, g.path)
		s.each(g, first, end, func(number uint32, r *record) {
			sumOf(id).add(r)
			if mine {
				active[number-first] += r[activeThreads]
			}
		})
		if i, ok := of[id]; ok {
			w.Groups[i].Quota, w.Groups[i].Period = g.quotaAt(end)
		}
	}
	var waiting time.Duration // of the target, in waits that no record has
	for _, wt := range waits {
		part := min(wt.to, at.to) - max(wt.from, at.from)
		if part <= 0 {
			continue
		}
		g := sumOf(wt.cgroup)
		for i, number := range states {
			if number == wt.state {
				g.States[i] += part
			}
		}
		if target(wt.cgroup, g.Path) {
			waiting += part
		}
	}
	for _, n := range active {
		w.Threads = max(w.Threads, int(n))
	}
	w.Threads += int(math.Ceil(float64(waiting)/float64(at.to-at.from) - 0.02))
	for _, v := range s.victims {
		if v.at >= at.from && v.at < at.to {
			w.Victims = append(w.Victims, Victim{v.Victim, sumOf(v.Cgroup).Path, v.at - at.from})
		}
	}
	for number, n := range s.lost {
		if number >= first && number < end {
			w.Lost += n
		}
	}
	return w
}

func (s *Sum) add(r *record) {
	for i, number := range states {
		s.States[i] += time.Duration(r[number]) * time.Microsecond
	}
	s.Switches += r[switches]
	s.Requests += r[requests]
	s.RequestTime += time.Duration(r[requestTime]) * time.Microsecond
	s.KernelRequests += r[kernelRequests]
	s.KernelRequestTime += time.Duration(r[kernelRequestTime]) * time.Microsecond
	s.Retransmits += r[retransmits]
	s.Stalled += time.Duration(r[stall]) * time.Microsecond
	if r[segments] > 0 {
		s.Segments += r[segments]
		s.Counted += r[retransmits]
	}
	s.Reclaims += r[reclaims]
	s.OOMKills += r[oomKills]
	s.Periods += r[periods]
	s.Limited += r[limited]
	s.ThrottledTime += time.Duration(r[throttledTime]) * time.Microsecond
}

// quotaAt is the group's limit before a sample.
func (g *group) quotaAt(end uint32) (cpus float64, period time.Duration) {
	for _, q := range g.quotas {
		if q.from < end {
			cpus, period = q.cpus, q.period
		}
	}
	return cpus, period
}
