package threads

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"unsafe"

	"github.com/kmend/kmend/bpf/probe"
)

// enum kind of threads.bpf.c
const (
	kindLiving uint32 = iota
	kindEnded
	kindRunning
)

// enum holder of holders.h
const (
	holderOwn uint32 = iota
	holderOthers
	holderKmend
	holderNobody
)

const recordSize = int(unsafe.Sizeof(threadsRecord{}))

// read fills r from the records of end_threads and from the maps.
func (p *Probe) read(r *Result, written []byte, start, end uint64) error {
	records, err := decode(written)
	if err != nil {
		return err
	}
	ended, err := p.endedRecords()
	if err != nil {
		return err
	}
	running := map[uint32]threadsRecord{} // by CPU: who is on it
	for _, rec := range records {
		if rec.Kind == kindRunning {
			running[rec.Tid] = rec
		}
	}
	r.Threads = threadsOf(append(records, ended...))
	if err := p.readEndedTotals(r); err != nil {
		return err
	}
	if err := p.readHolders(r, running, start, end); err != nil {
		return err
	}
	return p.objs.Lost.Get(&r.Lost)
}

func decode(b []byte) ([]threadsRecord, error) {
	records := make([]threadsRecord, len(b)/recordSize)
	if _, err := binary.Decode(b, binary.NativeEndian, records); err != nil {
		return nil, fmt.Errorf("decoding %d bytes of records: %w", len(b), err)
	}
	return records, nil
}

func (p *Probe) endedRecords() ([]threadsRecord, error) {
	var n uint32
	if err := p.objs.EndedCount.Get(&n); err != nil {
		return nil, err
	}
	n = min(n, p.objs.EndedThreads.MaxEntries())
	b := make([]byte, int(n)*recordSize)
	if _, err := io.ReadFull(io.NewSectionReader(p.ended, 0, int64(len(b))), b); err != nil {
		return nil, fmt.Errorf("reading %d ended threads: %w", n, err)
	}
	return decode(b)
}

// threadsOf drops a thread's second record: it can end while the iterator is at it.
func threadsOf(records []threadsRecord) []Thread {
	type life struct {
		tid   uint32
		start uint64
	}
	seen := make(map[life]bool, len(records))
	var ts []Thread
	for _, rec := range records {
		l := life{rec.Tid, rec.Start}
		// One born after the window has no time in it, and its ledger none either.
		if rec.Kind == kindRunning || seen[l] || rec.Wall == 0 {
			continue
		}
		seen[l] = true
		ts = append(ts, Thread{
			TID: int(rec.Tid), PID: int(rec.Tgid), Comm: probe.Comm(rec.Comm),
			CgroupID: rec.Cgroup, WallNS: rec.Wall, StateNS: rec.Ns, Behind: behind(rec.Behind), Ended: rec.Kind == kindEnded,
		})
	}
	return ts
}

func behind(ns [3]uint64) Behind {
	return Behind{OwnNS: ns[holderOwn], OthersNS: ns[holderOthers], KmendNS: ns[holderKmend]}
}

func (p *Probe) readEndedTotals(r *Result) error {
	var id uint64
	var t threadsGroupTotal
	for it := p.objs.EndedTotals.Iterate(); ; {
		if !it.Next(&id, &t) {
			return it.Err()
		}
		r.Ended = append(r.Ended, GroupTotal{CgroupID: id, Threads: int(t.Threads), WallNS: t.Wall, StateNS: t.Ns, Behind: behind(t.Behind)})
	}
}

// readHolders sums the groups over CPUs and adds what is open on each CPU: the
// group that runs since the last switch until the end of the window.
func (p *Probe) readHolders(r *Result, running map[uint32]threadsRecord, start, end uint64) error {
	online, err := onlineCPUs()
	if err != nil {
		return err
	}
	r.CPUs = len(online)
	held := map[uint64]uint64{}
	var id uint64
	var perCPU []uint64
	it := p.objs.Holders.Iterate()
	for it.Next(&id, &perCPU) {
		for _, ns := range perCPU {
			held[id] += ns
		}
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("reading holders: %w", err)
	}
	for _, cpu := range online {
		var s threadsCpuSlot
		if err := p.objs.CpuSlots.Lookup(uint32(cpu), &s); err != nil {
			return fmt.Errorf("reading CPU %d: %w", cpu, err)
		}
		open := end - min(max(s.Since, start), end)
		if on, ok := running[uint32(cpu)]; ok {
			held[on.Cgroup] += open
			if s.Running == holderKmend {
				r.KmendNS += open
			}
		} else {
			r.IdleNS += open
		}
		r.IdleNS += s.Idle
		r.KmendNS += s.Held[holderKmend]
		held[s.Cgroup] += s.Ns
		held[0] += s.Rest
	}
	for id, ns := range held {
		if ns > 0 {
			r.Holders = append(r.Holders, Holder{CgroupID: id, OnCPUNS: ns})
		}
	}
	slices.SortFunc(r.Holders, func(a, b Holder) int {
		return cmp.Or(cmp.Compare(b.OnCPUNS, a.OnCPUNS), cmp.Compare(a.CgroupID, b.CgroupID))
	})
	return nil
}
