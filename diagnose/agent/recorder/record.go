package recorder

import (
	"encoding/binary"
	"math/bits"

	probe "github.com/kmend/kmend/bpf/recorder"
)

// numbers of a record, those that most records have first: they fit the first
// byte of the bitmap. Times are in microseconds.
const (
	onCPU = iota
	runQueue
	switches
	activeThreads
	throttled
	periods
	limited
	io
	kernelLock
	reclaim
	throttledTime
	requests
	retransmits
	reclaims
	oomKills
	requestTime
	kernelRequests
	kernelRequestTime
	stall
	segments
	numNumbers
)

type record [numNumbers]uint64

// states are the numbers of probe.Delta.NS.
var states = [probe.NumStates]int{onCPU, runQueue, throttled, io, reclaim, kernelLock}

// maxRecord is the most bytes that append writes.
const maxRecord = binary.MaxVarintLen32 + 3 + numNumbers*binary.MaxVarintLen64

func recordOf(d probe.Delta) (r record) {
	for i, ns := range d.NS {
		r[states[i]] = (ns + 500) / 1000
	}
	r[switches], r[activeThreads] = d.Switches, d.Threads
	r[periods], r[limited], r[throttledTime] = d.Periods, d.Limited, (d.ThrottledNS+500)/1000
	r[requests], r[retransmits], r[reclaims], r[oomKills] = d.Requests, d.Retransmits, d.Reclaims, d.OOMKills
	r[requestTime] = (d.RequestNS + 500) / 1000
	r[kernelRequests], r[kernelRequestTime] = d.KernelRequests, (d.KernelRequestNS+500)/1000
	r[stall] = (d.StallNS + 500) / 1000
	return r
}

// append writes the record of a sample that is so many after the group's last one.
func (r *record) append(to []byte, after uint32) []byte {
	var has uint64
	for i, v := range r {
		if v != 0 {
			has |= 1 << i
		}
	}
	to = binary.AppendUvarint(to, uint64(after))
	to = binary.AppendUvarint(to, has)
	for i, v := range r {
		if has&(1<<i) != 0 {
			to = binary.AppendUvarint(to, v)
		}
	}
	return to
}

// read is the inverse of append; it gives what is left of from, nil when that is
// no record.
func (r *record) read(from []byte) (after uint32, rest []byte) {
	*r = record{}
	a, n := binary.Uvarint(from)
	if n <= 0 {
		return 0, nil
	}
	from = from[n:]
	has, n := binary.Uvarint(from)
	if n <= 0 || has>>numNumbers != 0 {
		return 0, nil
	}
	for from = from[n:]; has != 0; has &= has - 1 {
		v, n := binary.Uvarint(from)
		if n <= 0 {
			return 0, nil
		}
		r[bits.TrailingZeros64(has)] = v
		from = from[n:]
	}
	return uint32(a), from
}
