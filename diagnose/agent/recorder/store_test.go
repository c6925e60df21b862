package recorder

import (
	"errors"
	"fmt"
	"testing"
	"time"

	probe "github.com/kmend/kmend/bpf/recorder"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func options(bytes int) Options {
	o := DefaultOptions()
	o.MaxBytes = bytes
	return o
}

func open(t testing.TB, o Options) *store {
	t.Helper()
	s, err := newStore(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.arena.close() })
	return s
}

func path(id uint64) string { return fmt.Sprintf("/g%d", id) }

func everyone(uint64, string) bool { return true }

// second adds one second of the groups to the store.
func (s *store) second(at int, groups ...probe.Delta) {
	s.add(&probe.Sample{Start: time.Duration(at) * time.Second, End: time.Duration(at+1) * time.Second, Groups: groups}, 0, path, nil)
}

// What is read is what was written, whatever it was.
func TestRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var in, out record
		for i := range in {
			if rapid.Bool().Draw(t, "is there") {
				in[i] = rapid.Uint64().Draw(t, "number")
			}
		}
		after := rapid.Uint32().Draw(t, "after")
		b := in.append(nil, after)
		if len(b) > maxRecord {
			t.Fatalf("%d bytes", len(b))
		}
		got, rest := out.read(append(b, 7))
		if got != after || out != in || len(rest) != 1 {
			t.Fatalf("wrote %v, read %v, %d left", in, out, len(rest))
		}
		for n := range b {
			if _, rest := out.read(b[:n]); rest != nil {
				t.Fatalf("a part of a record was read")
			}
		}
	})
}

// Any window of any history has the sums of its seconds, for as long as they are
// kept; and the memory stays in its bounds.
func TestWindowsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := options(64 << 10)
		o.Keep = 40 * time.Second
		s, err := newStore(o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.arena.close()
		const seconds = 100
		var history [seconds]map[uint64]uint64
		for at := range seconds {
			history[at] = map[uint64]uint64{}
			var groups []probe.Delta
			for range rapid.IntRange(0, 30).Draw(t, "groups") {
				id := rapid.Uint64Range(1, 60).Draw(t, "group")
				if _, twice := history[at][id]; twice {
					continue
				}
				us := rapid.Uint64Range(1, 2e6).Draw(t, "us")
				history[at][id] = us
				groups = append(groups, probe.Delta{Cgroup: id, NS: [probe.NumStates]uint64{us * 1000}, Switches: us})
			}
			s.second(at, groups...)
		}
		from := rapid.IntRange(0, seconds-2).Draw(t, "from")
		to := rapid.IntRange(from+2, seconds).Draw(t, "to")
		first, end, err := s.find(time.Duration(from)*time.Second, time.Duration(to)*time.Second, time.Time{})
		has := s.spans[s.oldest()].from
		if time.Duration(from+1)*time.Second < has {
			if !errors.Is(err, ErrNotKept) {
				t.Fatalf("%d to %d: %v, and %s is the oldest", from, to, err, has)
			}
			return
		}
		if err != nil {
			if time.Duration(to-from)*time.Second < MinWindow+interval || time.Duration(from)*time.Second < has {
				return
			}
			t.Fatal(err)
		}
		from = max(from, int(has/time.Second))
		w := s.sum(first, end, nil, everyone, path)
		want := map[uint64]uint64{}
		for at := from; at < to; at++ {
			for id, us := range history[at] {
				want[id] += us
			}
		}
		for _, g := range w.Groups {
			if uint64(g.States[0]/time.Microsecond) != want[g.Cgroup] || g.Switches != want[g.Cgroup] {
				t.Fatalf("group %d: %v and %d, want %d", g.Cgroup, g.States[0], g.Switches, want[g.Cgroup])
			}
			delete(want, g.Cgroup)
		}
		if len(want) != 0 {
			t.Fatalf("missing %v", want)
		}
	})
}

// Over its budget the oldest goes, and what is asked about it says so.
func TestOverflowForgetsTheOldest(t *testing.T) {
	s := open(t, options(64<<10))
	for at := range 600 {
		var groups []probe.Delta
		for id := range 50 {
			groups = append(groups, probe.Delta{Cgroup: uint64(id + 1), NS: [probe.NumStates]uint64{12345678, 87654321, 5555555}, Switches: 1000})
		}
		s.second(at, groups...)
	}
	if s.gone == 0 || s.oldest() == 0 {
		t.Fatal("nothing was forgotten")
	}
	if _, _, err := s.find(10*time.Second, 20*time.Second, time.Time{}); !errors.Is(err, ErrNotKept) {
		t.Errorf("a window that is forgotten: %v", err)
	}
	first, end, err := s.find(595*time.Second, 600*time.Second, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if w := s.sum(first, end, nil, everyone, path); len(w.Groups) != 50 || w.Groups[0].Switches != 5000 {
		t.Errorf("%d groups, %+v", len(w.Groups), w.Groups[0])
	}
}

// Groups that come and go are bounded, and free when their time is over.
func TestGroupsComeAndGo(t *testing.T) {
	o := options(1 << 20)
	o.MaxGroups, o.Keep = 100, 15*time.Minute
	s := open(t, o)
	for at := range 2000 {
		s.second(at, probe.Delta{Cgroup: uint64(at + 1), Switches: 1})
		if len(s.groups) > 100 {
			t.Fatalf("%d groups", len(s.groups))
		}
	}
	for at := 2000; at < 2000+901; at++ {
		s.second(at)
	}
	if len(s.groups) != 0 || len(s.spans) > 901 {
		t.Errorf("%d groups and %d seconds are left after 15 minutes", len(s.groups), len(s.spans))
	}
	free := 0
	for c := s.arena.free; c != noChunk; c = s.arena.next[c] {
		free++
	}
	if free != int(s.arena.fresh) {
		t.Errorf("%d of %d chunks are free", free, s.arena.fresh)
	}
}

// The promise of the package comment: 500 containers that are busy all the time.
func TestFiveHundredContainers(t *testing.T) {
	s := open(t, DefaultOptions())
	groups := make([]probe.Delta, 500)
	for at := range 900 {
		for i := range groups {
			groups[i] = probe.Delta{
				Cgroup: uint64(i + 1), NS: [probe.NumStates]uint64{uint64(at)*1e6 + 1e6, uint64(i)*1e5 + 1e6, 3e8, 1e6}, Switches: uint64(at + 40),
				Threads: 3, Periods: 10, Limited: 7, ThrottledNS: 3e8, Requests: 12,
			}
		}
		s.second(at, groups...)
	}
	bytes := int(s.arena.fresh)*chunkBytes + 512*len(s.groups)
	t.Logf("%.1f MB for 500 x 900 buckets, %.1f bytes each", float64(bytes)/1e6, float64(bytes)/(500*900))
	if s.gone != 0 || bytes > 15e6 {
		t.Errorf("%d bytes, forgotten before second %d", bytes, s.gone)
	}
}

// A wait that ended late belongs to the seconds it was in, and one that has not
// ended too.
func TestLongWaits(t *testing.T) {
	s := open(t, options(1<<20))
	for at := range 20 {
		in := probe.Sample{Start: time.Duration(at) * time.Second, End: time.Duration(at+1) * time.Second}
		if at == 15 {
			in.Long = []probe.Wait{{Cgroup: 7, State: probe.IO, Begin: 5500 * time.Millisecond, End: 15500 * time.Millisecond}}
		}
		s.add(&in, 0, path, nil)
	}
	w := s.sum(6, 10, s.waits, everyone, path)
	if len(w.Groups) != 1 || w.Groups[0].States[probe.IO] != 4*time.Second || w.Threads != 1 || w.Groups[0].Path != "/g7" {
		t.Errorf("%+v", w)
	}
	if w := s.sum(16, 20, s.waits, everyone, path); len(w.Groups) != 0 {
		t.Errorf("after its end: %+v", w.Groups)
	}
}

// fake answers Read with a second that begins where the last one ended.
type fake struct{ at time.Duration }

func (f *fake) Read(s *probe.Sample) error {
	*s = probe.Sample{Start: f.at, End: f.at + time.Second, Groups: []probe.Delta{{Cgroup: 1, Switches: 1}}}
	f.at += time.Second
	return nil
}
func (*fake) Open() ([]probe.Wait, error) { return nil, nil }
func (*fake) Close() error                { return nil }

// Buckets are on a clock that does not jump: a wall time is looked up with the wall
// clock of when it is asked, so a clock that was set meanwhile does not matter.
func TestWallTimes(t *testing.T) {
	now, err := clock(unix.CLOCK_MONOTONIC)
	if err != nil {
		t.Fatal(err)
	}
	o := DefaultOptions()
	o.load = func(probe.Options) (source, error) { return &fake{at: now - 60*time.Second}, nil }
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Window(time.Now().Add(-5*time.Second), time.Now(), everyone); !errors.Is(err, ErrNotKept) {
		t.Errorf("before the first read: %v", err)
	}
	for range 60 {
		if err := r.Read(); err != nil {
			t.Fatal(err)
		}
	}
	asked := time.Now().Add(-30 * time.Second)
	w, err := r.Window(asked, asked.Add(10*time.Second), everyone)
	if err != nil || w.From.After(asked.Add(slack)) || asked.Sub(w.From) > time.Second+slack || w.To.Sub(w.From) < 10*time.Second-slack || w.To.Sub(w.From) > 12*time.Second {
		t.Errorf("%s to %s for %s: %v", w.From, w.To, asked, err)
	}
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Error(err)
	}
	if _, err := r.Window(asked, asked.Add(10*time.Second), everyone); err == nil {
		t.Error("a closed recorder answers")
	}
}
