// Package jvm is the probe of the pauses of Java virtual machines (hotspot):
// how long their garbage collectors stop the application.
//
// It is of the node side, beside bpf/threads: diagnose/agent opens one window for
// both. Three witnesses that know nothing of each other measure the pauses; the
// reader asks that two of them agree:
//
//   - the static tracepoints of libjvm.so: safepoints in which a collection ran;
//   - the counters that the virtual machine keeps for jstat (hsperfdata), read in
//     its memory when the window opens and when it ends: a collection counts where
//     it ends, and in whole;
//   - the scheduler: threads of the collector ran and none of the application's
//     did, from at most 20 ms after the last of them stopped until the next one ran.
//
// Limits: threads are told apart by the names that hotspot gives them (JDK 9 and
// later); native code (JNI) may run during a pause, and then there is no stall.
// A virtual machine that starts inside the window is not measured, nor is one
// that is linked into its program.
package jvm

import "time"

// Pauses are times in which the application stood still.
type Pauses struct {
	Count   int
	NS      uint64 // inside the window
	Longest uint64 // ns; 0 where it is not known
}

// JVM is one virtual machine in one window.
type JVM struct {
	PID       int
	Collector string // "Serial", "Parallel", "G1", "ZGC", "Shenandoah", by its threads

	Unprobed   string // why its tracepoints could not be used; then the next four are empty
	Pauses     Pauses // safepoints with a collection
	Safepoints Pauses // safepoints without
	Full       int    // collections of the whole heap
	HeapBefore uint64 // bytes used before the last collection and after it; 0 without one
	HeapAfter  uint64

	Unread string // why its counters could not be read; then Counted is empty
	// Counted are the collections that ended in the window and their time, also
	// that before the window began. Collecting says that one was under way both
	// when the window opened and when it ended, and none ended in between.
	Counted    Pauses
	Collecting bool

	Stalls Pauses // as the scheduler saw them

	// CPU time in ns: of the application's threads, the collector's (and of that
	// during Stalls) and the virtual machine's others, compilers among them.
	AppNS, CollectorNS, StalledNS, OtherNS uint64
}

// Result is one measured window.
type Result struct {
	Start  time.Time
	Window time.Duration
	JVMs   []JVM  // by pid
	Lost   uint64 // events that could not be recorded, and virtual machines over Options.MaxJVMs
}
