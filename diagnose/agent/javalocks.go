package agent

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kmend/kmend/bpf/futex"
	"github.com/kmend/kmend/diagnose/agent/hotspot"
	"github.com/kmend/kmend/incident"
)

// javaEvidence is what a Java virtual machine knows of its own locks, which wait at
// a futex for each thread: the longest of them, and the rest of each machine as one.
// What it means is in diagnose/cause/futex.go.
func javaEvidence(r hotspot.Result, addresses []futex.Address, proc string, window time.Duration) (out []incident.Evidence) {
	if r.Looks == 0 || r.Watched <= 0 {
		return nil
	}
	out = append(out, incident.Evidence{Metric: "java_looks", Value: float64(r.Looks), Unit: "looks"})
	// Of the time that was watched as of the window.
	scaled := func(d time.Duration) float64 {
		return thousandths(time.Duration(float64(d) / float64(r.Watched) * float64(window)))
	}
	top := r.Locks[:min(topFutexes, len(r.Locks))]
	for _, l := range top {
		subject := javaLock(l) + " of " + who(proc, l.PID, "java")
		add := func(metric string, value float64, unit string) {
			out = append(out, incident.Evidence{Metric: metric, Subject: subject, Value: value, Unit: unit})
		}
		add("java_lock_wait", scaled(l.Wait), "ms")
		add("java_lock_contended", scaled(l.Contended), "ms")
		add("java_lock_waiters", float64(len(l.Waiters)), "threads")
		add("java_lock_looks", float64(l.Seen), "looks")
		add("java_lock_handed", float64(handed(l, addresses)), "wakes")
		var holder int
		for tid, d := range l.Holders {
			if most := l.Holders[holder]; d > most || d == most && tid < holder {
				holder = tid
			}
		}
		if holder != 0 {
			add("java_lock_holder", scaled(l.Holders[holder]), "ms")
			out[len(out)-1].Subject += " held by " + thread(proc, l.PID, holder)
		}
	}
	others := map[int]hotspot.Lock{}
	for _, l := range r.Locks[len(top):] {
		sum, ok := others[l.PID]
		if !ok {
			sum = hotspot.Lock{PID: l.PID, Waiters: map[int]time.Duration{}, Holders: map[int]time.Duration{}}
		}
		sum.Wait, sum.Seen = sum.Wait+l.Wait, sum.Seen+l.Seen
		maps.Copy(sum.Waiters, l.Waiters)
		maps.Copy(sum.Holders, l.Holders)
		others[l.PID] = sum
	}
	for _, pid := range slices.Sorted(maps.Keys(others)) {
		subject := "other locks of " + who(proc, pid, "java")
		out = append(out,
			incident.Evidence{Metric: "java_lock_wait", Subject: subject, Value: scaled(others[pid].Wait), Unit: "ms"},
			incident.Evidence{Metric: "java_lock_looks", Subject: subject, Value: float64(others[pid].Seen), Unit: "looks"},
			incident.Evidence{Metric: "java_lock_handed", Subject: subject, Value: float64(handed(others[pid], addresses)), Unit: "wakes"})
	}
	return out
}

// javaLock is the lock for people. The class is the target's: no blank of it may
// look like ours.
func javaLock(l hotspot.Lock) string {
	class := strings.ReplaceAll(printable(l.Class), " ", "_")
	switch {
	case l.Monitor && class == "":
		class = "Java monitor"
	case l.Monitor:
		class = "Java monitor (" + class + ")"
	}
	return fmt.Sprintf("%s 0x%x", class, l.Address)
}

// handed is how often threads of the lock woke one of its waiters, each at an address
// where it alone waits: the kernel's side of it.
func handed(l hotspot.Lock, addresses []futex.Address) (wakes uint64) {
	ofLock := func(t futex.Thread) bool {
		_, waits := l.Waiters[t.TID]
		_, holds := l.Holders[t.TID]
		return waits || holds
	}
	for _, a := range addresses {
		waiters, sum, mine := 0, uint64(0), false
		for _, t := range a.Threads {
			if t.Waits > 0 {
				_, mine = l.Waiters[t.TID]
				waiters++
			}
			if ofLock(t) {
				sum += t.Wakes
			}
		}
		if a.PID == l.PID && waiters == 1 && mine {
			wakes += sum
		}
	}
	return wakes
}

// thread is a thread for people.
func thread(proc string, pid, tid int) string {
	b, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "task", strconv.Itoa(tid), "comm"))
	if err != nil {
		return strconv.Itoa(tid) // it has ended
	}
	return fmt.Sprintf("%s (%d)", printable(strings.TrimSuffix(string(b), "\n")), tid)
}
