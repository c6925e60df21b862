package cause

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kmend/kmend/incident"
)

// Evidence of the probe memory. Of the target's threads: reclaim_direct (the node
// had no free memory) and reclaim_memcg (a group was at its limit), each a count
// with _time and _longest in ms and _pages. By memory group: usage, limit, high in
// bytes; hit_high, hit_limit (how often), oom_kills; refaults, scanned, stolen in
// pages; pressure_some, pressure_full in ms. psi_off is 1 where the kernel does not
// mark who waits for memory. By victim "COMM (PID)", when after the begin of the
// window in ms: oom_victim (of the target) or oom_other, and oom_node when the node
// was out of memory; otherwise by group: oom_usage and oom_limit in bytes. In a
// recorded window the probe recorder has oom_victim of the target, and no more.

// reclaiming: threads took memory back themselves, or waited for what had been
// taken. The ledger marks the time; that reclaim was begun, a limit hit or pages
// were read anew is the second witness.
func reclaiming(f facts) []incident.Finding {
	t, read := f.state(incident.Reclaim), 0.0
	if f.rereads() {
		read = f.state(incident.IO)
		t += read
	}
	if !f.over(t, reclaimShare) {
		return nil
	}
	fd := incident.Finding{
		Cause:     incident.MemReclaim,
		Verdict:   incident.Confirmed,
		Share:     f.share(t),
		Threshold: f.threshold(reclaimShare),
		Evidence:  f.cite("reclaim", "active"),
	}
	said := fmt.Sprintf("reclaimed memory or waited for it %s of %s ms%s", ms(t), ms(f.base), f.inThreads())
	if read > 0 {
		said += fmt.Sprintf(" (%s of them to read from disks what it had to give up)", ms(read))
		fd.Evidence = append(fd.Evidence, f.cite("io")...)
	}
	direct, memcg := f.reclaims("reclaim_direct"), f.reclaims("reclaim_memcg")
	groups := f.memoryGroups()
	var tight memoryGroup
	var refaults float64
	for _, g := range groups {
		refaults = max(refaults, g.refaults) // those above count the same
		if g.hit() > tight.hit() {
			tight = g
		}
	}
	if direct.count+memcg.count == 0 && tight.hit() == 0 && refaults == 0 {
		fd.Cause, fd.Verdict, fd.Threshold = "", incident.Inconclusive, ""
		fd.Message = said + ", but nothing was reclaimed, no limit was hit and no page was read anew"
		return []incident.Finding{fd}
	}
	parts := []string{said}
	switch {
	case tight.name != "" && memcg.time >= direct.time:
		parts = append(parts, tight.String())
		fd.Evidence = append(fd.Evidence, tight.evidence...)
	case direct.count > 0:
		parts = append(parts, "the node has no free memory")
	}
	for _, r := range []reclaims{memcg, direct} {
		if r.count > 0 {
			parts = append(parts, r.String())
			fd.Evidence = append(fd.Evidence, r.evidence...)
		}
	}
	if refaults > 0 {
		parts = append(parts, fmt.Sprintf("%.0f pages were read anew soon after they had been taken", refaults))
		fd.Evidence = append(fd.Evidence, f.citeFrom("memory", "refaults")...)
	}
	fd.Message = parts[0] + ": " + strings.Join(parts[1:], "; ")
	return []incident.Finding{fd}
}

// reclaims is one kind of reclaim: times in ms.
type reclaims struct {
	count, time, pages, longest float64
	evidence                    []string
}

func (f facts) reclaims(metric string) (r reclaims) {
	for _, e := range f.m.Evidence {
		to := map[string]*float64{metric: &r.count, metric + "_time": &r.time, metric + "_pages": &r.pages, metric + "_longest": &r.longest}[e.Metric]
		if e.Probe == "memory" && to != nil {
			*to = e.Value
			r.evidence = append(r.evidence, ids(e)...)
		}
	}
	return r
}

func (r reclaims) String() string {
	return fmt.Sprintf("%.0f reclaims of %s ms, the longest %s, got %.0f pages back", r.count, ms(r.time), short(r.longest), r.pages)
}

// memoryGroup is one cgroup of the memory controller.
type memoryGroup struct {
	name                                            string
	usage, limit, high, hitHigh, hitLimit, refaults float64
	kills                                           float64
	evidence                                        []string
}

func (f facts) memoryGroups() (out []memoryGroup) {
	for _, e := range f.m.Evidence {
		if e.Probe != "memory" || e.Subject == "" || strings.HasPrefix(e.Metric, "oom_") && e.Metric != "oom_kills" {
			continue
		}
		i := slices.IndexFunc(out, func(g memoryGroup) bool { return g.name == e.Subject })
		if i < 0 {
			i = len(out)
			out = append(out, memoryGroup{name: e.Subject})
		}
		g := &out[i]
		to := map[string]*float64{
			"usage": &g.usage, "limit": &g.limit, "high": &g.high, "hit_high": &g.hitHigh, "hit_limit": &g.hitLimit,
			"refaults": &g.refaults, "oom_kills": &g.kills,
		}[e.Metric]
		if to != nil {
			*to = e.Value
			g.evidence = append(g.evidence, ids(e)...)
		}
	}
	return out
}

func (g memoryGroup) hit() float64 { return g.hitHigh + g.hitLimit }

func (g memoryGroup) String() string {
	limit, name := g.limit, "limit"
	if g.hitHigh > g.hitLimit {
		limit, name = g.high, "memory.high"
	}
	return fmt.Sprintf("%s uses %s, wanted more than its %s of %s %.0f times", group(g.name), mib(g.usage), name, mib(limit), g.hit())
}

func mib(bytes float64) string { return about(bytes/(1<<20)) + " MiB" }

// killed: the kernel ended a process of the target for its memory. It needs no
// share of anything, and no ledger: whoever is killed has lost all that would
// have come.
func killed(f facts) []incident.Finding {
	probe := "memory"
	if f.m.Window.Recorded {
		probe = "recorder"
	}
	i := slices.IndexFunc(f.m.Evidence, func(e incident.Evidence) bool { return e.Probe == probe && e.Metric == "oom_victim" })
	if !worked(f.m, probe) {
		return nil
	}
	if i < 0 {
		return f.killedUnseen()
	}
	v := f.m.Evidence[i]
	fd := incident.Finding{
		Cause:     incident.MemOOM,
		Verdict:   incident.Confirmed,
		Share:     1,
		Threshold: "one process of the target was killed",
		Evidence:  f.citeFrom(probe, "oom_victim", "oom_usage", "oom_limit", "oom_node", "oom_kills"),
	}
	fd.Message = fmt.Sprintf("out of memory: the kernel killed %s %s ms into the window", v.Subject, ms(v.Value))
	if n := f.count(probe, "oom_victim"); n > 1 {
		fd.Message += fmt.Sprintf(" and %d more", n-1)
	}
	limit, bounded := f.find("memory", "oom_limit")
	switch usage, _ := f.find("memory", "oom_usage"); {
	case bounded:
		fd.Message += fmt.Sprintf("; %s used %s of %s", group(limit.Subject), mib(usage.Value), mib(limit.Value))
	case f.m.Window.Recorded:
		fd.Message += "; whether a limit of a group was reached or the node was out of memory is not recorded"
	default:
		fd.Message += "; the node was out of memory, no limit of a group was reached"
	}
	return []incident.Finding{fd}
}

// killedUnseen is a doubt: the group nearest to the target counts a kill, and nobody
// was seen to be killed: just before the probe was attached, or outside the target.
func (f facts) killedUnseen() []incident.Finding {
	groups := f.memoryGroups()
	if len(groups) == 0 || groups[0].kills == 0 {
		return nil
	}
	g := groups[0]
	return []incident.Finding{{
		Verdict: incident.Inconclusive,
		Message: fmt.Sprintf("%s counts %.0f killed for memory, and nobody was seen to be: mem.oom just before the window, or of somebody else in that group",
			group(g.name), g.kills),
		Evidence: g.evidence,
	}}
}

func (f facts) count(probe, metric string) (n int) {
	for _, e := range f.m.Evidence {
		if e.Probe == probe && e.Metric == metric {
			n++
		}
	}
	return n
}

// refaultsUnseen reports whether the target waits for pages that reclaim took
// where the kernel does not mark that: it is in the ledger's io then.
func (f facts) refaultsUnseen() bool {
	if _, off := f.find("memory", "psi_off"); !off {
		return false
	}
	return slices.ContainsFunc(f.memoryGroups(), func(g memoryGroup) bool { return g.refaults >= refaultsMin*f.window/3000 })
}
