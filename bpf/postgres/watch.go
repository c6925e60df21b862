package postgres

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kmend/kmend/bpf/probe"
)

// watch reads the servers' memory while a window is open.
type watch struct {
	scene      *scene
	start, end time.Duration // CLOCK_MONOTONIC
	samples    int
	seen       map[int]*sighting // by pid
}

// sighting is what is known of one backend that was seen waiting.
type sighting struct {
	times  int // samples in which it waited
	last   int // number of the last of them
	at     time.Duration
	wait   waiter
	holder Holder
	// Of a wait that was there before the probe and has not ended: the tracepoint
	// does not know it.
	before bool
	until  time.Duration // when that was last seen
	ran    uint64        // its CPU time at the first sample, ns
}

// sample looks at every backend once.
func (w *watch) sample(p *Probe) error {
	open, err := p.open()
	if err != nil {
		return err
	}
	now, err := probe.Monotonic()
	if err != nil {
		return err
	}
	for pid := range open {
		if w.scene.backends[int(pid)] == nil { // born inside the window
			if err := w.scene.add([]int{int(pid)}); err != nil {
				return err
			}
		}
	}
	first := w.samples == 0
	w.samples++
	for pid, b := range w.scene.backends {
		wait, waits, in := w.scene.look(b)
		seen := w.seen[pid]
		if !waits {
			continue
		}
		if seen == nil {
			seen = &sighting{}
			w.seen[pid] = seen
		}
		if _, known := open[uint32(pid)]; !known && first {
			seen.before, seen.until, seen.ran = true, now, cpuTime(w.scene.proc, pid)
		} else if !known && seen.last == w.samples-1 && seen.wait.lock == wait.lock {
			seen.until = now
		}
		seen.times++
		seen.last, seen.at, seen.wait = w.samples, now, wait
		seen.holder = w.holder(b, in)
	}
	return w.expire(p, open)
}

// expire closes waits that ended in an error, which no tracepoint tells: the
// tracepoint has them open and the memory has not, twice in a row.
func (w *watch) expire(p *Probe, open map[uint32]postgresOpenWait) error {
	for pid, o := range open {
		b, seen := w.scene.backends[int(pid)], w.seen[int(pid)]
		if b == nil || seen == nil || seen.last >= w.samples-1 || seen.at < time.Duration(o.Since) {
			continue // it never was seen waiting, or just was
		}
		if err := p.finish(pid, o, seen.at, w.start); err != nil {
			return err
		}
	}
	return nil
}

// holder names who is in the way.
func (w *watch) holder(b *backend, in blocker) (h Holder) {
	switch {
	case in.pid < 0:
		return h
	case in.pid == 0:
		h.Prepared = true
		return h
	}
	h.Queued = in.queued
	h.PID = w.scene.inside[b.ns+" "+strconv.Itoa(in.pid)]
	if h.PID != 0 {
		h.Doing = doing(w.scene.proc, h.PID)
	}
	return h
}

// root follows the chain of holders that wait themselves, at the end of the window.
func (w *watch) root(h Holder) Holder {
	for range 16 {
		seen := w.seen[h.PID]
		if seen == nil || seen.last < w.samples || seen.holder == (Holder{}) {
			return h
		}
		h = seen.holder
	}
	return h
}

// doing is what a backend says that it does, in its title: "postgres: USER
// DATABASE HOST ACTIVITY", or whether it runs where it says nothing.
func doing(proc string, pid int) string {
	dir := filepath.Join(proc, strconv.Itoa(pid))
	title, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return ""
	}
	if d := activity(string(title)); d != "" {
		return d
	}
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	switch {
	case strings.HasPrefix(rest, "R"):
		return "running"
	case strings.HasPrefix(rest, "S"):
		return "asleep"
	}
	return ""
}

// maxActivity bounds what is taken over of a title: command tags are shorter.
const maxActivity = 40

func activity(title string) string {
	title = strings.TrimRight(strings.ReplaceAll(title, "\x00", " "), " ")
	title, ok := strings.CutPrefix(title, "postgres: ")
	if !ok {
		return ""
	}
	words := strings.Fields(title)
	for i, word := range words {
		// The host: [local], or an address with the port in brackets.
		if word == "[local]" || strings.HasSuffix(word, ")") && strings.Contains(word, "(") && i >= 2 {
			words = words[i+1:]
			break
		}
	}
	s := strings.Join(words, " ")
	return s[:min(len(s), maxActivity)]
}

// cpuTime is a thread's, in ns: the first field of schedstat is what the probe
// reads as se.sum_exec_runtime. 0 where the kernel does not say.
func cpuTime(proc string, pid int) (ns uint64) {
	b, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "schedstat"))
	if err != nil {
		return 0
	}
	_, _ = fmt.Sscan(string(b), &ns)
	return ns
}
