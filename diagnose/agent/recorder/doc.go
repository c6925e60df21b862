// Package recorder is the flight recorder: it keeps, per cgroup, one-second
// buckets of the ledger's active states and of counters for the last 15 minutes,
// so that diagnose/agent can answer for a window that is over. bpf/recorder adds
// up in the kernel; this package reads it once a second.
//
// Times here are on CLOCK_BOOTTIME: it neither jumps when the wall clock is set
// nor stops while the machine sleeps. Wall times are turned into it when they are
// asked about, with the wall clock of then.
//
// Memory. One arena of Options.MaxBytes holds all buckets; it is mapped outside of
// Go's heap and touched as it fills. A bucket takes
//
//	1 byte (seconds since the group's last one) + 1 to 3 (which of 20 numbers are not 0) + 1 to 4 a number,
//
// 8 bytes for a container that runs a little, 25 for one that is throttled; one
// that does nothing has none. 500 containers busy all the time: 500 x 900 x 25 =
// 11 MB. Over the budget the oldest buckets go. Beside the arena: 512 bytes a group
// (at most Options.MaxGroups, the dead of the last 15 minutes among them), and in
// the kernel 200 bytes a group of 4096, 64 bytes a thread of 65536, 100 bytes a
// block request of 4096, 130 bytes a connection that sends again of 4096, 100 bytes a
// thread under a quota that waits. All together with the defaults at most
// 16 + 4 + 0.8 + 4.2 + 0.4 + 0.5 = 26 MB, whatever the node does.
package recorder
