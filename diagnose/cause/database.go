package cause

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kmend/kmend/incident"
)

// Evidence of the probe postgres; pids are process ids on the node:
//
//	backends, waiters  processes of PostgreSQL, and those that waited for a lock
//	waited             ms that they waited, all together
//	waited_ran         ms of these in which the kernel billed them CPU time: they did not wait
//	waited_sampled     ms as the server's memory has it, read every 100 ms; absent where it cannot be read
//	lock_wait          ms of one backend for one type of lock in one mode, eight at most;
//	                   subject "PID TYPE MODE OBJECT"
//	lock_waits         how many waits these were; subject "PID TYPE MODE"
//	lock_holder        who holds it, or "prepared"; subject "PID HOLDER DOING", ms
//	lock_queue         who waits for it in front, where nobody holds it in a mode that conflicts
//	lock_root          who is at the end of the chain, where the holder waits itself

// database: backends of PostgreSQL waited for each other's locks.
func database(f facts) []incident.Finding {
	waited, ok := f.find("postgres", "waited")
	lost := databaseLost(f)
	if !ok || waited.Value < dbLockDuration*f.window/3000 || f.share(lost) < dbLockShare {
		return nil
	}
	ran, _ := f.find("postgres", "waited_ran")
	fd := incident.Finding{
		Cause:     incident.DBLockWait,
		Verdict:   incident.Confirmed,
		Share:     f.share(lost),
		Threshold: fmt.Sprintf("at least %.0f%% and %.0f ms", 100*dbLockShare, dbLockDuration*f.window/3000),
		Evidence:  append(f.cite("sleep", "active"), f.citeFrom("postgres", "waiters", "waited", "waited_ran", "waited_sampled")...),
	}
	waits := f.databaseWaits()
	for _, w := range waits {
		if len(fd.Evidence) == 0 || w.ms >= 0.1*waited.Value {
			fd.Evidence = append(fd.Evidence, w.evidence...)
		}
	}
	waiters, _ := f.find("postgres", "waiters")
	switch {
	case len(waits) == 0:
		fd.Message = fmt.Sprintf("%s waited %s ms for locks of PostgreSQL", plural(waiters.Value, "backend"), ms(waited.Value))
	case waiters.Value > 1:
		fd.Message = fmt.Sprintf("%s; %s waited %s ms in all", waits[0].says(f.window), plural(waiters.Value, "backend"), ms(waited.Value))
	default:
		fd.Message = waits[0].says(f.window)
	}
	asleep := f.state(incident.Sleep) >= lockWitness*(waited.Value-ran.Value)
	if asleep && ran.Value <= 0.5*waited.Value {
		return []incident.Finding{fd}
	}
	fd.Cause, fd.Verdict, fd.Threshold = "", incident.Inconclusive, ""
	fd.Message += fmt.Sprintf(", but the kernel does not agree: its threads slept for %s ms, and ran for %s ms of their waits", ms(f.state(incident.Sleep)), ms(ran.Value))
	return []incident.Finding{fd}
}

// databaseLost is the time in sleep that PostgreSQL's locks explain.
func databaseLost(f facts) float64 {
	if !worked(f.m, "postgres") {
		return 0
	}
	waited, _ := f.find("postgres", "waited")
	ran, _ := f.find("postgres", "waited_ran")
	return min(max(0, waited.Value-ran.Value), f.state(incident.Sleep))
}

// databaseWait is one backend's waits for one type of lock.
type databaseWait struct {
	pid, kind, mode, object string
	ms, count               float64
	holder, doing           string
	queued                  bool
	root, rootDoing         string
	evidence                []string
}

func (f facts) databaseWaits() (out []databaseWait) {
	for _, e := range f.m.Evidence {
		words := strings.SplitN(e.Subject, " ", 4)
		if e.Probe != "postgres" || len(words) < 2 {
			continue
		}
		i := slices.IndexFunc(out, func(w databaseWait) bool { return w.pid == words[0] })
		if e.Metric == "lock_wait" && len(words) == 4 {
			i = len(out)
			out = append(out, databaseWait{pid: words[0], kind: words[1], mode: words[2], object: words[3], ms: e.Value})
		}
		if i < 0 {
			continue
		}
		_, doing, _ := strings.Cut(strings.TrimPrefix(e.Subject, words[0]+" "), " ")
		w := &out[i]
		switch last := &out[len(out)-1]; e.Metric { // what is about a wait comes after it
		case "lock_wait":
		case "lock_waits":
			w = last
			w.count = e.Value
		case "lock_holder", "lock_queue":
			w = last
			w.holder, w.doing, w.queued = words[1], doing, e.Metric == "lock_queue"
		case "lock_root":
			w = last
			w.root, w.rootDoing = words[1], doing
		default:
			continue
		}
		if e.ID != "" {
			w.evidence = append(w.evidence, e.ID)
		}
	}
	slices.SortStableFunc(out, func(a, b databaseWait) int { return int(1e3*b.ms) - int(1e3*a.ms) })
	return out
}

func (w databaseWait) says(window float64) string {
	s := fmt.Sprintf("backend %s waited %s of %s ms for a %s lock (%s) on %s", w.pid, ms(w.ms), ms(window), w.kind, w.mode, w.object)
	if w.count > 1 {
		s += fmt.Sprintf(", %.0f times", w.count)
	}
	who := func(pid, doing string) string {
		if pid == "prepared" {
			return "a prepared transaction"
		}
		if doing != "" {
			return fmt.Sprintf("backend %s, which is at: %s", pid, doing)
		}
		return "backend " + pid
	}
	switch {
	case w.holder != "" && w.queued:
		s += ", queued behind " + who(w.holder, w.doing)
	case w.holder != "":
		s += ", held by " + who(w.holder, w.doing)
	}
	if w.root != "" && w.root != w.holder {
		s += "; the chain ends at " + who(w.root, w.rootDoing)
	}
	return s
}
