// Package disk is the probe that measures how long block I/O takes: for each
// device the time from queue to issue and from issue to completion, of what the
// target asked for, of what the kernel did (journals, writeback) and of the
// others on the same device.
//
// diagnose/agent runs it beside the ledger of bpf/threads, which knows how long
// threads waited; this package says for what. BTF tracepoints only, attached for
// the window.
package disk

import (
	"math"
	"time"
)

// Owner is who asked for an I/O.
type Owner uint32

const (
	Target Owner = iota // a thread of the target, or writeback charged to its cgroup
	Kernel              // a kernel thread, for nobody or for everybody: a journal, writeback
	Other               // anybody else
)

// Result is one measured window. An I/O counts when it was queued and completed
// inside it.
type Result struct {
	Window  time.Duration
	Shares  []Share // in no order
	Pending []Pending
	Skipped uint64 // issued inside the window, queued before it: in no Share
	Lost    uint64 // I/Os that could not be recorded
}

// Device is a whole disk.
type Device struct{ Major, Minor uint32 }

// Share is what one owner did on one device.
type Share struct {
	Device   Device
	Owner    Owner
	CgroupID uint64 // of Other, and of Target where it is known: inode of its directory; on v1 in the cpu controller's hierarchy
	Comm     string // of the first thread that asked, as it named itself: untrusted

	Reads, Writes, Flushes, Others uint64 // Others: discards, zone operations
	Bytes                          uint64
	// Queue is from when it was queued until the driver had it, Service from then
	// until it was complete. Of what began with a flush of the device's cache, and
	// on devices without requests (dm, md), all is Service.
	Queue, Service Times
	Longest        time.Duration // of queue and service together
}

// Count is how many I/Os completed.
func (s Share) Count() uint64 { return s.Reads + s.Writes + s.Flushes + s.Others }

// Pending is what one owner had not got when the window ended.
type Pending struct {
	Device Device
	Owner  Owner
	Count  uint64
	Oldest time.Duration // how long the oldest had been waiting
	Total  time.Duration // of all of them
}

// Slots is the number of slots of a histogram.
const Slots = 26

// Times is a number of durations.
type Times struct {
	Total time.Duration
	// Slots counts by size: slot i those below 2^i µs and not in the slot before,
	// the last one all above, from 17 s.
	Slots [Slots]uint32
}

// Bound is the upper end of slot i.
func Bound(i int) time.Duration { return time.Microsecond << i }

// Count is the number of durations.
func (t Times) Count() (n uint64) {
	for _, c := range t.Slots {
		n += uint64(c)
	}
	return n
}

// Mean is 0 of none.
func (t Times) Mean() time.Duration {
	n := t.Count()
	if n == 0 {
		return 0
	}
	return t.Total / time.Duration(min(n, math.MaxInt64))
}

// Quantile is the upper end of the slot in which the quantile q of 0 to 1 lies:
// up to twice too large. 0 of none.
func (t Times) Quantile(q float64) time.Duration {
	rank := uint64(math.Ceil(q * float64(t.Count())))
	var seen uint64
	for i, c := range t.Slots {
		seen += uint64(c)
		if c > 0 && seen >= rank {
			return Bound(i)
		}
	}
	return 0
}

// Plus is both together.
func (t Times) Plus(u Times) Times {
	t.Total += u.Total
	for i := range t.Slots {
		t.Slots[i] += u.Slots[i]
	}
	return t
}
