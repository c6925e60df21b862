package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// The causes, as kmend names them.
const (
	throttled  = "cpu.throttled"
	saturated  = "cpu.saturated"
	busy       = "cpu.busy"
	retransmit = "net.retransmit"
	peerSlow   = "net.peer_slow"
	diskSlow   = "disk.latency"
	kernelLock = "lock.kernel"
	userLock   = "lock.user"
	dbLock     = "db.lock_wait"
	gcPause    = "jvm.gc_pause"
	reclaim    = "mem.reclaim"
	oom        = "mem.oom"
	healthy    = "healthy" // no cause: nothing may be confirmed
)

// trial is one case: a fault whose cause is known.
type trial struct {
	name   string // FAMILY/what it is; unique
	expect string // the cause that must be found first, or healthy
	// or are causes that are as right in the first place, and why says why; it
	// was said before the case ever ran.
	or  []string
	why string
	// doubt is what cannot be told apart from the cause: then the right answer is
	// inconclusive and names both.
	doubt string
	// with are causes that must be among the findings too: two faults at once.
	with   []string
	window time.Duration // 0: kmend's own
	make   func(*bed) fault
}

// fault is what a trial has made.
type fault struct {
	target *group
	pid    int // instead of target, if not 0
	proof  []meter
	settle time.Duration // 0: half a second
}

// meter is a witness: something other than kmend that says whether the fault was
// there in the window. It must grow by at least least while kmend measures.
type meter struct {
	what  string
	read  func() (float64, error)
	least float64
	level bool // not a counter: must be at least least before and after
}

func allTrials() []trial {
	var all []trial
	for _, family := range [][]trial{
		cpuTrials(), netTrials(), diskTrials(), lockTrials(), databaseTrials(), jvmTrials(), memoryTrials(), twoTrials(), healthyTrials(),
	} {
		all = append(all, family...)
	}
	return all
}

// choose are the trials whose name or expected cause matches.
func choose(all []trial, pattern string) ([]trial, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("-r: %w", err)
	}
	var out []trial
	for _, t := range all {
		if re.MatchString(t.name) || re.MatchString(t.expect) {
			out = append(out, t)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("-r %s: no case has such a name; -list shows them", pattern)
	}
	return out, nil
}

func (t trial) answer() string {
	s := strings.Join(append([]string{t.expect}, t.or...), " or ")
	if t.doubt != "" {
		s += ", or inconclusive between that and " + t.doubt
	}
	if len(t.with) > 0 {
		s += ", with " + strings.Join(t.with, ", ")
	}
	return s
}

func kv(key string, value any) string { return fmt.Sprintf("%s=%v", key, value) }
