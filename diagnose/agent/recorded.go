package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	bpf "github.com/kmend/kmend/bpf/recorder"
	"github.com/kmend/kmend/bpf/threads"
	"github.com/kmend/kmend/diagnose/agent/cgroups"
	"github.com/kmend/kmend/diagnose/agent/recorder"
	"github.com/kmend/kmend/incident"
	"golang.org/x/sys/unix"
)

// Recorder is the flight recorder that an agent has beside its probes.
type Recorder interface {
	Window(from, to time.Time, target func(id uint64, path string) bool) (recorder.Window, error)
	Kept() (from, to time.Time, ok bool)
}

// The lengths of a recorded window and of the baseline before it.
const (
	minRecorded = recorder.MinWindow
	maxRecorded = 15 * time.Minute
	maxBaseline = time.Minute
)

// recorded answers for a window that is over, out of the recorder's buckets. The
// measurement is what a live one would be as far as it was recorded: the same
// evidence of the probes threads and cgroup, with the window marked. What was not
// recorded:
//
//   - sleep and user locks. The ledger's states are the active ones, and wall_ms is
//     their sum: what is not recorded does not count as time of the target.
//   - which thread did what. The number of threads is that of the second in which
//     most of them were active.
//   - what the instruments measure. They are not in Probes, so the causes that need
//     them are not measured, and nothing is clean.
func (a *Agent) recorded(ctx context.Context, r Request) (incident.Measurement, error) {
	meter := newMeter()
	leave, err := meter.join()
	if err != nil {
		return incident.Measurement{}, err
	}
	defer leave()
	if r.Until.IsZero() {
		r.Until = time.Now()
	}
	switch length := r.Until.Sub(r.Since).Round(10 * time.Millisecond); {
	case length < minRecorded || length > maxRecorded:
		return incident.Measurement{}, refuse(ErrInvalid, "the recorded window of %s is not allowed; allowed: %s to %s", length, minRecorded, maxRecorded)
	case a.o.Recorder == nil:
		return incident.Measurement{}, refuse(ErrUnsupported, "nothing is recorded on this node: %s", cmp.Or(a.o.NoRecorder, "the flight recorder is not running; start kmend-agent serve without --recorder=false"))
	}
	node, err := cgroups.Open(a.o.Proc)
	if err != nil {
		return incident.Measurement{}, refuse(ErrUnsupported, "%s", err)
	}
	p, err := a.past(ctx, node, r.Target)
	if err != nil {
		return incident.Measurement{}, err
	}
	w, err := a.o.Recorder.Window(r.Since, r.Until, p.target)
	if err != nil {
		if errors.Is(err, recorder.ErrNotKept) {
			err = refuse(ErrInvalid, "%s", err)
		}
		return incident.Measurement{}, err
	}
	m := p.measurement(a.node, a.o.Proc, w)
	m.Baseline = p.baseline(a.o.Recorder, w.From)
	m.Cost = meter.cost()
	return m, nil
}

// past is a target among the recorded cgroups.
type past struct {
	scope scope
	node  *cgroups.Node
	cpu   cgroups.Mount
	top   string            // below the mount of the cpu hierarchy
	names map[uint64]string // of the cgroups that are there
}

// past finds the target. A cgroup that is gone is found by its path.
func (a *Agent) past(ctx context.Context, node *cgroups.Node, t incident.Target) (p past, err error) {
	cpu, ok := node.CPU()
	if !ok {
		return p, refuse(ErrUnsupported, "no cpu hierarchy is mounted")
	}
	s, err := a.resolve(ctx, node, t)
	if errors.Is(err, ErrNotFound) && t.Cgroup != "" && t.PID == 0 {
		s = scope{target: t, what: probe.Target{Cgroups: []string{filepath.Clean(t.Cgroup)}}}
		err = nil
	}
	if err != nil {
		return p, err
	}
	if len(s.what.PIDs) > 0 {
		return p, refuse(ErrInvalid, "the past is recorded by cgroup, not by process; ask about %s", cmp.Or(s.target.Cgroup, "its cgroup"))
	}
	p = past{scope: s, node: node, cpu: cpu, names: node.Names()}
	dir := s.what.Cgroups[0]
	if _, ok := cpu.Path(dir); !ok {
		if dir, err = twin(node, cpu, dir); err != nil {
			return p, err
		}
		p.scope.what.Cgroups = []string{dir}
	}
	p.top = strings.TrimPrefix(dir, cpu.Dir)
	return p, nil
}

// twin is the directory of the cpu hierarchy that has the processes of one in
// another hierarchy, and as far as can be told no others.
func twin(node *cgroups.Node, cpu cgroups.Mount, dir string) (string, error) {
	groups, err := node.Groups([]string{dir}, nil)
	if err != nil {
		return "", classify(err)
	}
	if len(groups) == 1 && filepath.Base(groups[0]) == filepath.Base(dir) {
		return groups[0], nil
	}
	return "", refuse(ErrInvalid, "the past is recorded by cgroups of the cpu controller, and %s has none of its own there; name a directory below %s", dir, cpu.Dir)
}

func (p past) path(id uint64, recorded string) string {
	if recorded != "" || id == 0 {
		return recorded
	}
	return p.names[id]
}

func (p past) target(id uint64, recorded string) bool {
	path := p.path(id, recorded)
	return path == p.top || strings.HasPrefix(path, strings.TrimSuffix(p.top, "/")+"/")
}

// above reports whether a group is the target's parent or one of theirs: their
// quotas are the target's.
func (p past) above(path string) bool {
	return path != "" && strings.HasPrefix(p.top, strings.TrimSuffix(path, "/")+"/")
}

// liveOrder gives the indexes of recorded states in incident.States.
func liveOrder() (order [bpf.NumStates]int) {
	for i, st := range []incident.State{incident.OnCPU, incident.RunQueue, incident.Throttled, incident.IO, incident.Reclaim, incident.KernelLock} {
		order[i] = slices.Index(incident.States(), st)
	}
	return order
}

// measurement goes the way of a live window, so that the causes read the same.
func (p past) measurement(node incident.Node, proc string, w recorder.Window) incident.Measurement {
	length := w.To.Sub(w.From)
	names := maps.Clone(p.names)
	s := seen{
		window: window{node: p.node, scope: p.scope},
		result: threads.Result{Start: w.From, Window: length, CPUs: node.CPUs, Lost: w.Lost},
		names:  names,

		recorded: true,
	}
	order := liveOrder()
	var ran time.Duration
	limits := []recorder.Sum{}
	for _, g := range w.Groups {
		path := p.path(g.Cgroup, g.Path)
		if path != "" {
			names[g.Cgroup] = path
		}
		on := g.States[bpf.OnCPU]
		ran += on
		s.result.Holders = append(s.result.Holders, threads.Holder{CgroupID: g.Cgroup, OnCPUNS: uint64(on)})
		mine := p.target(g.Cgroup, g.Path)
		if g.Quota > 0 && (mine || p.above(path)) {
			g.Path = path
			limits = append(limits, g)
		}
		if !mine {
			continue
		}
		total := threads.GroupTotal{CgroupID: g.Cgroup}
		for i, d := range g.States {
			total.StateNS[order[i]] = uint64(d)
		}
		total.WallNS = uint64(g.Active())
		s.result.Ended = append(s.result.Ended, total)
	}
	s.result.IdleNS = uint64(max(0, time.Duration(node.CPUs)*length-ran))
	slices.SortFunc(s.result.Holders, func(a, b threads.Holder) int { return cmp.Compare(b.OnCPUNS, a.OnCPUNS) })
	slices.SortFunc(limits, func(a, b recorder.Sum) int {
		return cmp.Or(cmp.Compare(strings.Count(b.Path, "/"), strings.Count(a.Path, "/")), cmp.Compare(a.Path, b.Path))
	})
	for _, g := range limits {
		q := cgroups.Quota{Dir: g.Path, Path: g.Path, CPUs: g.Quota, Period: g.Period}
		s.before = append(s.before, q)
		q.Stat = cgroups.Stat{Periods: g.Periods, Throttled: g.Limited, Time: g.ThrottledTime}
		s.after = append(s.after, q)
	}
	s.allowed = p.allowed(proc, node.CPUs)
	m := s.measurement(node)
	if m.Ledger.WallMS > 0 {
		m.Ledger.Threads = max(1, w.Threads)
	}
	for i := range m.Evidence {
		if e := &m.Evidence[i]; e.Probe == "threads" && e.Metric == "active_threads" {
			e.Value = float64(w.Threads)
		}
	}
	m.Probes = append(m.Probes, incident.ProbeStatus{Name: "recorder", Status: incident.ProbeOK})
	m.Evidence = append(m.Evidence, p.counters(w, len(m.Evidence))...)
	return m
}

// counters are what the recorder counted beside the ledger, evidence of its own.
func (p past) counters(w recorder.Window, n int) (out []incident.Evidence) {
	var sum recorder.Sum
	for _, g := range w.Groups {
		sum.KernelRequests += g.KernelRequests
		sum.KernelRequestTime += g.KernelRequestTime
		if p.target(g.Cgroup, g.Path) {
			sum.Switches += g.Switches
			sum.Requests += g.Requests
			sum.RequestTime += g.RequestTime
			sum.Retransmits += g.Retransmits
			sum.Stalled += g.Stalled
			sum.Segments += g.Segments
			sum.Counted += g.Counted
			sum.Reclaims += g.Reclaims
			sum.OOMKills += g.OOMKills
		}
	}
	add := func(metric, subject string, value float64, unit string) {
		if value > 0 || metric == "tcp_stalled" {
			out = append(out, incident.Evidence{ID: fmt.Sprintf("e%d", n+len(out)+1), Probe: "recorder", Metric: metric, Subject: subject, Value: round(value), Unit: unit})
		}
	}
	add("switches", "", float64(sum.Switches), "switches")
	if sum.Requests > 0 {
		add("block_requests", "", float64(sum.Requests), "requests")
		add("block_time", "", ms(sum.RequestTime), "ms")
		add("kernel_block_requests", "", float64(sum.KernelRequests), "requests")
		add("kernel_block_time", "", ms(sum.KernelRequestTime), "ms")
	}
	p.tcp(sum, add)
	add("reclaims", "", float64(sum.Reclaims), "reclaims")
	add("oom_kills", "", float64(sum.OOMKills), "processes")
	for _, v := range w.Victims {
		if p.target(v.Cgroup, v.Path) {
			add("oom_victim", fmt.Sprintf("%s (%d)", printable(v.Comm), v.PID), ms(v.After), "ms")
		}
	}
	return out
}

// tcp is nothing where the kernel does not know whose a socket is; else the stalls are
// there, 0 or not.
func (p past) tcp(sum recorder.Sum, add func(metric, subject string, value float64, unit string)) {
	if !p.cpu.V2 {
		return
	}
	add("tcp_retransmits", "", float64(sum.Retransmits), "segments")
	add("tcp_stalled", "", ms(sum.Stalled), "ms")
	add("tcp_counted", "", float64(sum.Counted), "segments")
	add("tcp_segments", "", float64(sum.Segments), "segments")
}

// baseline is what the target did before from, nil when nothing of it is kept.
func (p past) baseline(r Recorder, from time.Time) *incident.Baseline {
	kept, _, ok := r.Kept()
	begin := from.Add(-maxBaseline)
	if ok && kept.After(begin) {
		begin = kept
	}
	if !ok || from.Sub(begin) < minRecorded {
		return nil
	}
	w, err := r.Window(begin, from, p.target)
	if err != nil {
		return nil // it has just been forgotten
	}
	var sum [threads.NumStates]uint64
	order := liveOrder()
	for _, g := range w.Groups {
		if p.target(g.Cgroup, g.Path) {
			for i, d := range g.States {
				sum[order[i]] += uint64(d)
			}
		}
	}
	b := &incident.Baseline{Window: incident.Window{Start: w.From.UTC(), Seconds: w.To.Sub(w.From).Seconds(), Recorded: true}, States: states(sum)}
	delete(b.States, incident.Sleep)
	delete(b.States, incident.UserLock)
	return b
}

// allowed counts the CPUs that the target's threads may run on now, the first of
// them: that they might not do so then is not recorded. 0 when none of them lives.
func (p past) allowed(proc string, cpus int) int {
	var union unix.CPUSet
	asked := 0
	for _, pid := range p.node.Processes(p.scope.what.Cgroups, nil) {
		tasks, err := os.ReadDir(filepath.Join(proc, strconv.Itoa(pid), "task"))
		if err != nil {
			continue // it has ended
		}
		for _, task := range tasks {
			tid, err := strconv.Atoi(task.Name())
			var set unix.CPUSet
			if asked++; asked > maxAsked {
				return min(union.Count(), cpus)
			}
			if err != nil || unix.SchedGetaffinity(tid, &set) != nil {
				continue
			}
			for i := range union {
				union[i] |= set[i]
			}
		}
	}
	return min(union.Count(), cpus)
}

// maxAsked bounds the threads that are asked where they may run.
const maxAsked = 64
