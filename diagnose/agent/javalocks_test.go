package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/futex"
	"github.com/kmend/kmend/diagnose/agent/hotspot"
	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/jvm"
)

// Threads that wait for one lock of Java are a convoy; threads that hand work to each
// other, one of which works at a time, look the same to the kernel and are none.
func TestJavaLocks(t *testing.T) {
	for _, c := range []struct {
		mode, what string
		options    []string
	}{
		{"monitor", "Java monitor (java.lang.Object)", []string{"-XX:+UseSerialGC"}},
		{"monitor", "Java monitor", []string{"-XX:+UseZGC", "-Xmx64m"}},
		{"reentrant", "java.util.concurrent.locks.ReentrantLock", []string{"-XX:+UseG1GC"}},
		{"reentrant", "java.util.concurrent.locks.ReentrantLock", []string{"-XX:+UseParallelGC", "-Xint"}},
		{"write", "java.util.concurrent.locks.ReentrantReadWriteLock", []string{"-XX:+UseSerialGC", "-XX:-UseCompressedOops"}},
		{"queue", "", nil},
		{"futures", "", nil},
		{"handover", "", nil},
		{"notify", "", nil},
		{"condition", "", nil},
		{"idle", "", nil},
	} {
		t.Run(strings.Join(append([]string{c.mode}, c.options...), " "), func(t *testing.T) {
			l := newLab(t)
			dir := l.group("target", 262144, 0)
			jvm.Start(t, c.options, c.mode, 4, 0, dir)
			time.Sleep(500 * time.Millisecond)
			d := diagnosed(t, l, dir)
			f, ok := d.Finding(incident.LockUser)
			if ok != (c.what != "") || !strings.Contains(f.Message, c.what) {
				t.Errorf("%s: %+v", d.Verdict, d.Findings)
			}
			// The machine may be busy with others; what this test does is nobody's doubt.
			for _, f := range d.Findings {
				if strings.Contains(f.Message, "in futexes") {
					t.Errorf("a doubt: %+v", f)
				}
			}
			if looks := most(d.Evidence, "java_looks"); looks.Value < 10 {
				t.Errorf("%v looks at the virtual machine", looks.Value)
			}
		})
	}
}

// A lock whose holder never gives it up: the holder is stuck, or it waits for work and
// will give the lock to the next when some comes. Nobody can tell from outside.
func TestJavaLockThatStays(t *testing.T) {
	l := newLab(t)
	dir := l.group("target", 262144, 0)
	jvm.Start(t, []string{"-XX:+UseSerialGC"}, "stuck", 4, 0, dir)
	time.Sleep(500 * time.Millisecond)
	d := diagnosed(t, l, dir)
	if d.Verdict != incident.Inconclusive || !strings.Contains(d.Findings[0].Message, "changed hands 0 times") {
		t.Errorf("%s: %+v", d.Verdict, d.Findings)
	}
}

func TestJavaEvidence(t *testing.T) {
	monitor := hotspot.Lock{
		PID: 7, Address: 16, Class: "a b/of c", Monitor: true, Wait: 2 * time.Second, Contended: time.Second, Seen: 10,
		Waiters: map[int]time.Duration{8: time.Second, 9: time.Second},
		Holders: map[int]time.Duration{8: time.Second / 4, 9: time.Second / 2},
	}
	locks := []hotspot.Lock{monitor}
	for range topFutexes + 1 {
		locks = append(locks, hotspot.Lock{PID: 7, Class: "c", Wait: time.Millisecond, Seen: 3})
	}
	out := javaEvidence(hotspot.Result{Watched: time.Second, Looks: 20, Locks: locks}, []futex.Address{
		{PID: 7, Threads: []futex.Thread{{TID: 8, Waits: 5}, {TID: 9, Wakes: 4}, {TID: 3, Wakes: 1}}},
		{PID: 7, Threads: []futex.Thread{{TID: 8, Waits: 5}, {TID: 9, Waits: 5, Wakes: 5}}}, // it is both's
		{PID: 7, Threads: []futex.Thread{{TID: 3, Waits: 5}, {TID: 9, Wakes: 5}}},           // it is another's
	}, t.TempDir(), 2*time.Second)
	got := map[string]float64{}
	for _, e := range out[:8] {
		got[e.Metric+" "+e.Subject] = e.Value
	}
	const subject = "Java monitor (a_b/of_c) 0x10 of java (7)"
	for key, want := range map[string]float64{
		"java_looks ":                                20,
		"java_lock_wait " + subject:                  4000,
		"java_lock_contended " + subject:             2000,
		"java_lock_waiters " + subject:               2,
		"java_lock_looks " + subject:                 10,
		"java_lock_handed " + subject:                4,
		"java_lock_holder " + subject + " held by 9": 1000,
	} {
		if v, ok := got[key]; !ok || v != want {
			t.Errorf("%s is %v, want %v; all: %v", key, v, want, got)
		}
	}
	if rest := out[len(out)-3:]; rest[0].Subject != "other locks of java (7)" || rest[0].Value != 4 || rest[1].Value != 6 || rest[2].Value != 0 {
		t.Errorf("the rest is %+v", rest)
	}
	if out := javaEvidence(hotspot.Result{}, nil, "/proc", time.Second); out != nil {
		t.Errorf("without Java: %v", out)
	}
}
