package agent

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"

	"github.com/kmend/kmend/bpf/threads"
	"github.com/kmend/kmend/diagnose/agent/cgroups"
	"github.com/kmend/kmend/incident"
)

const (
	topThreads = 10
	topHolders = 5
	// activeShare of the window: a thread below it is not counted as active.
	activeShare = 0.02
)

// measurement puts what a window gave into the shared terms: milliseconds, CPUs
// and cgroup paths.
func (s seen) measurement(node incident.Node) incident.Measurement {
	r := s.result
	if r.CPUs > 0 {
		node.CPUs = r.CPUs
	}
	if r.Start.IsZero() {
		r.Start = s.start
	}
	m := incident.Measurement{
		Target: s.window.scope.target,
		Node:   node,
		Window: incident.Window{Start: r.Start.UTC(), Seconds: r.Window.Seconds(), Recorded: s.recorded},
		Probes: []incident.ProbeStatus{
			{Name: "threads", Status: incident.ProbeOK, Lost: r.Lost},
			{Name: "cgroup", Status: incident.ProbeOK},
		},
		Evidence: []incident.Evidence{},
		Ledger:   incident.Ledger{States: states([threads.NumStates]uint64{})},
	}
	if s.aborted != nil {
		for i := range m.Probes {
			m.Probes[i].Status, m.Probes[i].Reason = incident.ProbeAborted, s.aborted.Error()
		}
	}
	for _, p := range s.parts {
		m.Probes = append(m.Probes, p.status)
	}
	if s.aborted != nil {
		m.Evidence = s.found(m.Evidence)
		return m
	}
	if s.cgroup != nil {
		m.Probes[1].Status, m.Probes[1].Reason = incident.ProbeUnsupported, s.cgroup.Error()
	}
	for _, p := range s.parts {
		m.Peers = append(m.Peers, p.reading.peers...)
	}
	m.Ledger = s.ledger()
	m.Evidence = s.evidence(m.Ledger)
	return m
}

func (s seen) ledger() incident.Ledger {
	var sum threads.GroupTotal
	groups := map[uint64]*threads.GroupTotal{}
	add := func(id uint64, n int, wall uint64, states [threads.NumStates]uint64) {
		if groups[id] == nil {
			groups[id] = &threads.GroupTotal{CgroupID: id}
		}
		for _, g := range []*threads.GroupTotal{&sum, groups[id]} {
			g.Threads += n
			g.WallNS += wall
			for i, ns := range states {
				g.StateNS[i] += ns
			}
		}
	}
	for _, t := range s.result.Threads {
		add(t.CgroupID, 1, t.WallNS, t.StateNS)
	}
	for _, g := range s.result.Ended {
		add(g.CgroupID, g.Threads, g.WallNS, g.StateNS)
	}
	l := incident.Ledger{Threads: sum.Threads, WallMS: millis(sum.WallNS), States: states(sum.StateNS)}
	for _, t := range mostActive(s.result.Threads, topThreads) {
		l.Top = append(l.Top, incident.ThreadLedger{
			TID: t.TID, PID: t.PID, Comm: printable(t.Comm), WallMS: millis(t.WallNS), States: states(t.StateNS),
		})
	}
	if len(groups) > 1 {
		for _, g := range groups {
			l.Groups = append(l.Groups, incident.GroupLedger{
				Cgroup: s.name(g.CgroupID), Threads: g.Threads, WallMS: millis(g.WallNS), States: states(g.StateNS),
			})
		}
		slices.SortFunc(l.Groups, func(a, b incident.GroupLedger) int {
			return cmp.Or(cmp.Compare(b.WallMS, a.WallMS), cmp.Compare(a.Cgroup, b.Cgroup))
		})
	}
	return l
}

func (s seen) evidence(l incident.Ledger) []incident.Evidence {
	out := []incident.Evidence{}
	add := func(probe, metric, subject string, value float64, unit string) {
		e := incident.Evidence{
			ID: fmt.Sprintf("e%d", len(out)+1), Probe: probe, Metric: metric, Subject: subject,
			Value: math.Round(value*1000) / 1000, Unit: unit,
		}
		if probe == "threads" {
			e.Lost = s.result.Lost
		}
		out = append(out, e)
	}
	for _, st := range incident.States() {
		add("threads", string(st), "", l.States[st], "ms")
	}
	active, count := 0.0, 0
	for _, st := range incident.States() {
		if st != incident.Sleep && st != incident.UserLock {
			active += l.States[st]
		}
	}
	for _, t := range s.result.Threads {
		if float64(activeNS(t)) >= activeShare*float64(s.result.Window) {
			count++
		}
	}
	add("threads", "active", "", active, "ms")
	if behind := s.behind(); !s.recorded {
		add("threads", "behind_own", "", millis(behind.OwnNS), "ms")
		add("threads", "behind_others", "", millis(behind.OthersNS), "ms")
		add("threads", "behind_kmend", "", millis(behind.KmendNS), "ms")
	}
	add("threads", "active_threads", "", float64(count), "threads")
	if wall, wanted := s.ended(); wall > 0 {
		add("threads", "ended_wall", "", millis(wall), "ms")
		add("threads", "ended_wanted", "", millis(wanted), "ms")
	}
	if s.allowed > 0 {
		add("threads", "cpus_allowed", "", float64(s.allowed), "cpus")
	}
	total, holders := s.others()
	add("threads", "cpu_others", "", total, "cpus")
	for _, h := range holders {
		add("threads", "cpu_holder", h.path, h.cpus, "cpus")
	}
	add("threads", "cpu_idle", "", s.cpus(s.result.IdleNS), "cpus")
	if !s.recorded {
		add("threads", "cpu_kmend", "", s.cpus(s.result.KmendNS), "cpus")
	}

	for _, q := range s.after {
		i := slices.IndexFunc(s.before, func(b cgroups.Quota) bool { return b.Dir == q.Dir })
		if i < 0 || q.Stat.Periods < s.before[i].Stat.Periods { // made, or made anew, during the window
			continue
		}
		b := s.before[i].Stat
		add("cgroup", "quota", q.Path, q.CPUs, "cpus")
		add("cgroup", "period", q.Path, ms(q.Period), "ms")
		add("cgroup", "nr_periods", q.Path, float64(q.Stat.Periods-b.Periods), "periods")
		add("cgroup", "nr_throttled", q.Path, float64(q.Stat.Throttled-b.Throttled), "periods")
		add("cgroup", "throttled_time", q.Path, ms(q.Stat.Time-b.Time), "ms")
	}
	return s.found(out)
}

// behind is what the target's threads waited for a CPU on which somebody ran.
func (s seen) behind() (sum threads.Behind) {
	add := func(b threads.Behind) {
		sum.OwnNS += b.OwnNS
		sum.OthersNS += b.OthersNS
		sum.KmendNS += b.KmendNS
	}
	for _, t := range s.result.Threads {
		add(t.Behind)
	}
	for _, g := range s.result.Ended {
		add(g.Behind)
	}
	return sum
}

// ended is how long the threads that ended in the window lived, and how much of it
// they ran or waited for a CPU.
func (s seen) ended() (wall, wanted uint64) {
	add := func(ns uint64, states [threads.NumStates]uint64) {
		wall += ns
		for i, st := range incident.States() {
			if st == incident.OnCPU || st == incident.RunQueue {
				wanted += states[i]
			}
		}
	}
	for _, t := range s.result.Threads {
		if t.Ended {
			add(t.WallNS, t.StateNS)
		}
	}
	for _, g := range s.result.Ended {
		add(g.WallNS, g.StateNS)
	}
	return wall, wanted
}

// found adds what the instruments found, with the ids that follow.
func (s seen) found(out []incident.Evidence) []incident.Evidence {
	for _, p := range s.parts {
		for _, e := range p.reading.evidence {
			e.ID, e.Value = fmt.Sprintf("e%d", len(out)+1), math.Round(e.Value*1000)/1000
			e.Subject = printable(e.Subject)
			for i, frame := range e.Stack {
				e.Stack[i] = printable(frame)
			}
			out = append(out, e)
		}
	}
	return out
}

type holder struct {
	path string
	cpus float64
}

// others are the CPUs held by whoever is not the target, on average over the
// window, and the groups that held most. Of a group that the target shares with
// other processes, what the target's threads did not use is the others'.
func (s seen) others() (total float64, top []holder) {
	own := map[uint64]uint64{}
	for _, t := range s.result.Threads {
		own[t.CgroupID] += t.StateNS[0]
	}
	for _, g := range s.result.Ended {
		own[g.CgroupID] += g.StateNS[0]
	}
	for _, h := range s.result.Holders {
		if s.belongs(h.CgroupID) {
			continue
		}
		ns := h.OnCPUNS - min(own[h.CgroupID], h.OnCPUNS)
		if cpus := s.cpus(ns); cpus >= 0.001 {
			total += cpus
			top = append(top, holder{s.name(h.CgroupID), cpus})
		}
	}
	slices.SortFunc(top, func(a, b holder) int {
		return cmp.Or(cmp.Compare(b.cpus, a.cpus), cmp.Compare(a.path, b.path))
	})
	return total, top[:min(len(top), topHolders)]
}

// belongs reports whether a group is the target's as a whole.
func (s seen) belongs(id uint64) bool {
	cpu, ok := s.window.node.CPU()
	path := s.names[id]
	if !ok || path == "" {
		return false
	}
	for _, dir := range s.window.scope.what.Cgroups {
		top, ok := cpu.Path(dir)
		if ok && (path == top || strings.HasPrefix(path, strings.TrimSuffix(top, "/")+"/")) {
			return true
		}
	}
	return false
}

func (s seen) cpus(ns uint64) float64 {
	if s.result.Window <= 0 {
		return 0
	}
	return float64(ns) / float64(s.result.Window)
}

func (s seen) name(id uint64) string {
	if path := s.names[id]; path != "" {
		return printable(path)
	}
	if id == 0 {
		return "other groups" // beyond those the probe can hold
	}
	return fmt.Sprintf("id:%d", id)
}

func mostActive(all []threads.Thread, n int) []threads.Thread {
	sorted := slices.SortedStableFunc(slices.Values(all), func(a, b threads.Thread) int {
		return cmp.Or(cmp.Compare(activeNS(b), activeNS(a)), cmp.Compare(a.TID, b.TID))
	})
	return sorted[:min(n, len(sorted))]
}

func activeNS(t threads.Thread) uint64 {
	var sum uint64
	for i, st := range incident.States() {
		if st != incident.Sleep && st != incident.UserLock {
			sum += t.StateNS[i]
		}
	}
	return sum
}

func states(ns [threads.NumStates]uint64) map[incident.State]float64 {
	out := make(map[incident.State]float64, threads.NumStates)
	for i, st := range incident.States() {
		out[st] = millis(ns[i])
	}
	return out
}

// millis is rounded to microseconds: what is below them is not measured.
func millis(ns uint64) float64 { return math.Round(float64(ns)/1e3) / 1e3 }

// printable is a name that whoever made a thread or a cgroup chose, as text.
func printable(name string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, name)
}
