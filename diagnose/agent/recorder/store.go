package recorder

import (
	"time"

	probe "github.com/kmend/kmend/bpf/recorder"
)

// span is one sample: what lies between two reads, on CLOCK_BOOTTIME.
type span struct{ from, to time.Duration }

// quota is a limit that a group had from a sample on.
type quota struct {
	from   uint32
	cpus   float64 // 0: none
	period time.Duration
}

// maxQuotas that a group had in 15 minutes; of more the oldest are forgotten.
const maxQuotas = 8

// group is one cgroup, or one that was.
type group struct {
	path       string
	head, tail uint32 // chunks
	last       uint32 // sample of the last record
	quotas     []quota
}

// wait is one of more than a second, or one that lasts.
type wait struct {
	cgroup uint64
	state  int // index of a record
	span
}

// victim of the OOM killer.
type victim struct {
	probe.Victim
	at time.Duration
}

// The most long waits and victims that are kept: 40 and 80 bytes each.
const (
	maxWaits   = 8192
	maxVictims = 256
)

// store keeps the samples of the last while. It is not safe for concurrent use.
type store struct {
	o       Options
	arena   *arena
	groups  map[uint64]*group
	spans   []span // of the samples first, first+1, ...
	first   uint32
	gone    uint32 // records of samples before this one may be missing: the arena was full
	waits   []wait
	victims []victim
	lost    map[uint32]uint64 // by sample, what the kernel could not record
}

func newStore(o Options) (*store, error) {
	a, err := newArena(o.MaxBytes)
	if err != nil {
		return nil, err
	}
	return &store{o: o, arena: a, groups: map[uint64]*group{}, lost: map[uint32]uint64{}}, nil
}

// add keeps a sample. shift turns its clock into CLOCK_BOOTTIME. path names a
// cgroup that is met for the first time. sent is what the network namespaces of
// cgroups sent, as far as it is known.
func (s *store) add(in *probe.Sample, shift time.Duration, path func(uint64) string, sent map[uint64]uint64) {
	number := s.first + uint32(len(s.spans))
	now := span{in.Start + shift, in.End + shift}
	if n := len(s.spans); n > 0 && now.from < s.spans[n-1].to {
		now.from = s.spans[n-1].to // the machine slept between two looks at the clocks
	}
	s.spans = append(s.spans, now)
	if in.Overflown > 0 {
		s.lost[number] = in.Overflown
	}
	for i := range in.Groups {
		d := &in.Groups[i]
		g := s.groups[d.Cgroup]
		if g == nil {
			g = s.meet(d.Cgroup, path)
		}
		r := recordOf(*d)
		r[segments] = sent[d.Cgroup]
		if r != (record{}) {
			s.append(g, number, &r)
		}
		g.limit(number, d.Quota, d.Period)
	}
	for _, w := range in.Long {
		s.waits = append(s.waits, wait{w.Cgroup, states[w.State], span{w.Begin + shift, w.End + shift}})
	}
	for _, v := range in.Victims {
		s.victims = append(s.victims, victim{v, v.At + shift})
	}
	s.expire(now.to - s.o.Keep)
}

// meet makes room for a group; of too many the one that is idle longest goes.
func (s *store) meet(id uint64, path func(uint64) string) *group {
	if len(s.groups) >= s.o.MaxGroups {
		var oldest uint64
		var idle *group
		for id, g := range s.groups {
			if idle == nil || g.last < idle.last {
				oldest, idle = id, g
			}
		}
		s.gone = max(s.gone, idle.last+1)
		s.drop(oldest, idle)
	}
	g := &group{path: path(id), head: noChunk, tail: noChunk}
	s.groups[id] = g
	return g
}

func (s *store) drop(id uint64, g *group) {
	for g.head != noChunk {
		s.pop(g)
	}
	delete(s.groups, id)
}

// pop frees a group's oldest chunk.
func (s *store) pop(g *group) {
	c := g.head
	g.head = s.arena.next[c]
	if g.head == noChunk {
		g.tail = noChunk
	}
	s.arena.release(c)
}

// end is the sample of the last record of a chunk, at most.
func (s *store) end(g *group, c uint32) uint32 {
	if next := s.arena.next[c]; next != noChunk {
		return s.arena.first[next] - 1
	}
	return g.last
}

func (s *store) append(g *group, number uint32, r *record) {
	if g.tail == noChunk || !s.arena.add(g.tail, r, number-g.last) {
		c, ok := s.arena.take()
		if !ok {
			s.evict()
			c, _ = s.arena.take()
		}
		s.arena.first[c] = number
		// The group itself may have lost its last chunk just now.
		if g.tail == noChunk {
			g.head = c
		} else {
			s.arena.next[g.tail] = c
		}
		g.tail = c
		s.arena.add(c, r, 0)
	}
	g.last = number
}

// evict frees the oldest chunk of all.
func (s *store) evict() {
	var oldest *group
	for _, g := range s.groups {
		if g.head != noChunk && (oldest == nil || s.arena.first[g.head] < s.arena.first[oldest.head]) {
			oldest = g
		}
	}
	s.gone = max(s.gone, s.end(oldest, oldest.head)+1)
	s.pop(oldest)
}

// expire forgets what is older than limit.
func (s *store) expire(limit time.Duration) {
	n := 0
	for n < len(s.spans) && s.spans[n].to < limit {
		delete(s.lost, s.first+uint32(n))
		n++
	}
	if n == 0 {
		return
	}
	s.spans = append(s.spans[:0], s.spans[n:]...)
	s.first += uint32(n)
	for id, g := range s.groups {
		for g.head != noChunk && s.end(g, g.head) < s.first {
			s.pop(g)
		}
		if g.head == noChunk {
			delete(s.groups, id) // with its next record it is met again
		}
	}
	s.waits = expireOld(s.waits, maxWaits, func(w wait) bool { return w.to < limit })
	s.victims = expireOld(s.victims, maxVictims, func(v victim) bool { return v.at < limit })
}

// expireOld drops what is old, and the oldest of more than most.
func expireOld[T any](in []T, most int, old func(T) bool) []T {
	n := max(0, len(in)-most)
	for n < len(in) && old(in[n]) {
		n++
	}
	return append(in[:0], in[n:]...)
}

// limit remembers a quota from when it changed.
func (g *group) limit(from uint32, cpus float64, period time.Duration) {
	n := len(g.quotas)
	if n == 0 && cpus == 0 || n > 0 && g.quotas[n-1].cpus == cpus && g.quotas[n-1].period == period {
		return
	}
	if n == maxQuotas {
		g.quotas = append(g.quotas[:0], g.quotas[1:]...)
	}
	g.quotas = append(g.quotas, quota{from, cpus, period})
}

// each calls f with every record of a group in the samples from, ..., to-1.
func (s *store) each(g *group, from, to uint32, f func(number uint32, r *record)) {
	var r record
	for c := g.head; c != noChunk; c = s.arena.next[c] {
		if s.end(g, c) < from {
			continue
		}
		number, rest := s.arena.first[c], s.arena.bytes(c)
		if number >= to {
			return
		}
		for len(rest) > 0 {
			var after uint32
			if after, rest = r.read(rest); rest == nil {
				return // cannot be: it was written here
			}
			number += after
			if number >= from && number < to {
				f(number, &r)
			}
		}
	}
}
