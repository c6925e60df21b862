package jvm

import (
	"syscall"
	"testing"
	"time"

	"github.com/kmend/kmend/test/jvm"
	"github.com/kmend/kmend/test/rig"
	"golang.org/x/sys/unix"
)

const window = 2 * time.Second

// The three witnesses against a fourth, the virtual machine's own log.
func TestPauses(t *testing.T) {
	rig.Root(t)
	for _, c := range []struct {
		name, collector string
		options         []string
		attr            syscall.SysProcAttr
	}{
		{"serial", "Serial", []string{"-XX:+UseSerialGC"}, syscall.SysProcAttr{}},
		{"parallel", "Parallel", []string{"-XX:+UseParallelGC", "-XX:ParallelGCThreads=2"}, syscall.SysProcAttr{}},
		{"g1", "G1", []string{"-XX:+UseG1GC"}, syscall.SysProcAttr{}},
		{"container", "Serial", []string{"-XX:+UseSerialGC"}, syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}},
		{"no perf data", "Serial", []string{"-XX:+UseSerialGC", "-XX:+PerfDisableSharedMem"}, syscall.SysProcAttr{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := jvm.StartAs(t, &c.attr, append(c.options, "-Xmx64m"), "garbage", 1, 30000, rig.NewGroup(t).Path)
			r, begin, end := measure(t, window, m.PID)
			if len(r.JVMs) != 1 {
				t.Fatalf("%d virtual machines", len(r.JVMs))
			}
			j := r.JVMs[0]
			stopped, collections, collecting := m.Paused(begin, end)
			t.Logf("its log: stood still for %v, %d collections, %v", stopped, collections, collecting)
			if j.Collector != c.collector || j.Unprobed != "" || stopped < window/20 {
				t.Errorf("collector %s, unprobed %q, stood still for %v", j.Collector, j.Unprobed, stopped)
			}
			near := func(what string, ns uint64, want, slack time.Duration) {
				if got := time.Duration(ns); got < want-slack || got > want+slack {
					t.Errorf("%s: %v, its log says %v (+-%v)", what, got, want, slack)
				}
			}
			longest := time.Duration(j.Pauses.Longest)
			// The log begins and ends its times inside of the tracepoints': G1's pauses, of which
			// there are many, are 0.1 to 0.4 ms longer to these on a busy machine.
			each := time.Duration(j.Pauses.Count) * 200 * time.Microsecond
			near("tracepoints", j.Pauses.NS+j.Safepoints.NS, stopped, window/20+each)
			if j.HeapBefore == 0 || j.HeapAfter == 0 || j.HeapBefore > 65<<20 || j.HeapAfter > 65<<20 {
				t.Errorf("heap %d -> %d of 64 MB", j.HeapBefore, j.HeapAfter)
			}
			if c.name == "no perf data" {
				if j.Unread == "" || j.Counted != (Pauses{}) {
					t.Errorf("counted %v, unread %q, and it has no performance data", j.Counted, j.Unread)
				}
			} else {
				// Counted in whole where they end: those at both ends of the window differ.
				near("counters", j.Counted.NS, collecting, window/20+2*longest)
				if d := j.Counted.Count - collections; j.Unread != "" || d < -2 || d > 2 {
					t.Errorf("%d collections, its log has %d; %s", j.Counted.Count, collections, j.Unread)
				}
			}
			// Others on the machine make gaps in the collector's work.
			if got := time.Duration(j.Stalls.NS); got < stopped/2 || got > stopped+stopped/10+window/20 {
				t.Errorf("stalls: %v, its log says %v", got, stopped)
			}
			if j.StalledNS > j.CollectorNS || j.AppNS == 0 {
				t.Errorf("CPU: collector %d, of that stalled %d, application %d", j.CollectorNS, j.StalledNS, j.AppNS)
			}
		})
	}
}

// What is slow for another reason, and what is not slow.
func TestNoPauses(t *testing.T) {
	rig.Root(t)
	for _, c := range []struct {
		mode    string
		threads int
		options []string
	}{
		{"lock", 3, []string{"-XX:+UseG1GC"}},
		{"compute", 2, []string{"-XX:+UseParallelGC"}},
		{"idle", 20, []string{"-XX:+UseSerialGC"}},
	} {
		t.Run(c.mode, func(t *testing.T) {
			m := jvm.Start(t, c.options, c.mode, c.threads, 0, rig.NewGroup(t).Path)
			time.Sleep(time.Second) // what the start left over has been compiled by then
			r, begin, end := measure(t, window, m.PID)
			stopped, collections, _ := m.Paused(begin, end)
			t.Logf("its log: stood still for %v, %d collections", stopped, collections)
			j := r.JVMs[0]
			if collections != 0 || j.Pauses.Count != 0 || j.Counted.Count != 0 || j.Collecting {
				t.Errorf("pauses %v, counted %v, collecting %v; its log has %d collections", j.Pauses, j.Counted, j.Collecting, collections)
			}
			if time.Duration(j.Stalls.NS) > window/20 {
				t.Errorf("stalls %v", j.Stalls)
			}
		})
	}
}

// Neither a process without a virtual machine nor one that has ended is an error.
func TestNoJVM(t *testing.T) {
	rig.Root(t)
	w := rig.Start(t, "-mode", "sleep")
	begin := time.Now()
	r, _, _ := measure(t, time.Minute, w.PID, 1<<22-1)
	if len(r.JVMs) != 0 || time.Since(begin) > 30*time.Second {
		t.Errorf("%d virtual machines after %v", len(r.JVMs), time.Since(begin))
	}
}
