package agent

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/kmend/kmend/bpf/memory"
	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/diagnose/agent/cgroups"
)

// memories measures reclaim and kills for memory, and reads what the target's
// memory groups say. Its evidence is listed at the top of diagnose/cause/memory.go.
type memories struct{ probe *memory.Probe }

func loadMemories(m *probe.Members) (measurer, error) {
	p, err := memory.Load(m)
	if err != nil {
		return nil, err
	}
	return memories{p}, nil
}

func (d memories) Close() error { return d.probe.Close() }

// Measure gives what it has when the window is cut short after one of the target
// was killed: that may be why there is no target any more.
func (d memories) Measure(ctx context.Context, s subject, window time.Duration) (reading, error) {
	m, groups, err := s.node.Bearing("memory", s.target.Cgroups, s.target.PIDs)
	if err != nil {
		groups = nil // without the controller nothing is limited
	}
	groups = groups[:min(len(groups), maxMemoryGroups)]
	opened := make(chan []cgroups.Memory, 1)
	go func() {
		_ = probe.Opened(ctx) // who measures says why it did not
		opened <- memoryOf(m, groups)
	}()
	r, err := d.probe.Measure(ctx, window)
	before := <-opened
	if err != nil && !slices.ContainsFunc(r.Kills, func(k memory.Kill) bool { return k.Target }) {
		return reading{}, err
	}
	var es evidences
	es.reclaim("reclaim_direct", r.Direct)
	es.reclaim("reclaim_memcg", r.Memcg)
	if _, err := os.Stat("/proc/pressure/memory"); err != nil {
		es.add("psi_off", "", 1, "nodes")
	}
	after := memoryOf(m, groups)
	for _, now := range after {
		i := slices.IndexFunc(before, func(b cgroups.Memory) bool { return b.Dir == now.Dir })
		if i >= 0 && now.HitLimit >= before[i].HitLimit {
			es.group(before[i], now)
		}
	}
	es.kills(r.Kills, memoryNames(m, groups))
	return reading{evidence: es, lost: r.Lost}, nil
}

// maxMemoryGroups bounds the groups that are read, each of them five files twice.
const maxMemoryGroups = 64

func memoryOf(m cgroups.Mount, groups []string) (out []cgroups.Memory) {
	for _, dir := range groups {
		if s, ok := m.Memory(dir); ok {
			out = append(out, s)
		}
	}
	return out
}

func (es *evidences) reclaim(metric string, r memory.Reclaim) {
	es.add(metric, "", float64(r.Count), "reclaims")
	if r.Count > 0 {
		es.add(metric+"_time", "", ms(r.Time), "ms")
		es.add(metric+"_pages", "", float64(r.Pages), "pages")
		es.add(metric+"_longest", "", ms(r.Longest), "ms")
	}
}

// group adds one group if it has a limit, or had trouble.
func (es *evidences) group(before, now cgroups.Memory) {
	path := printable(now.Path)
	type count struct {
		metric      string
		was, is     uint64
		unit        string
		interesting bool // also when it is 0
	}
	counts := []count{
		{"hit_high", before.HitHigh, now.HitHigh, "times", now.High > 0},
		{"hit_limit", before.HitLimit, now.HitLimit, "times", now.Limit > 0},
		{"oom_kills", before.OOMKills, now.OOMKills, "processes", false},
		{"refaults", before.Refaults, now.Refaults, "pages", false},
		{"scanned", before.Scanned, now.Scanned, "pages", false},
		{"stolen", before.Stolen, now.Stolen, "pages", false},
	}
	trouble := slices.ContainsFunc(counts, func(c count) bool { return c.is > c.was })
	if now.Limit == 0 && now.High == 0 && !trouble {
		return
	}
	es.add("usage", path, float64(now.Usage), "bytes")
	if now.Limit > 0 {
		es.add("limit", path, float64(now.Limit), "bytes")
	}
	if now.High > 0 {
		es.add("high", path, float64(now.High), "bytes")
	}
	for _, c := range counts {
		if c.is > c.was || c.interesting {
			es.add(c.metric, path, float64(c.is-min(c.was, c.is)), c.unit)
		}
	}
	if now.Some > before.Some {
		es.add("pressure_some", path, ms(now.Some-before.Some), "ms")
		es.add("pressure_full", path, ms(max(0, now.Full-before.Full)), "ms")
	}
}

func (es *evidences) kills(kills []memory.Kill, names map[uint64]string) {
	for i, k := range kills {
		if i == topKills {
			return
		}
		metric := "oom_other"
		if k.Target {
			metric = "oom_victim"
		}
		who := fmt.Sprintf("%s (%d)", printable(k.Comm), k.PID)
		if k.Comm == "" {
			who = fmt.Sprintf("process %d", k.PID)
		}
		es.add(metric, who, ms(k.After), "ms")
		if k.CgroupID == 0 {
			es.add("oom_node", who, 1, "nodes")
			continue
		}
		path := names[k.CgroupID]
		if path == "" {
			path = fmt.Sprintf("id:%d", k.CgroupID)
		}
		es.add("oom_usage", printable(path), float64(k.Usage), "bytes")
		es.add("oom_limit", printable(path), float64(k.Limit), "bytes")
	}
}

// topKills is how many killed processes are named.
const topKills = 5

func memoryNames(m cgroups.Mount, groups []string) map[uint64]string {
	out := map[uint64]string{}
	for _, dir := range groups {
		var st syscall.Stat_t
		if syscall.Stat(dir, &st) == nil {
			out[st.Ino], _ = m.Path(dir)
		}
	}
	return out
}

// round is to three places: what is below them is not measured.
func round(v float64) float64 { return math.Round(v*1000) / 1000 }
