package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/diagnose/cause"
	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/jvm"
	"github.com/kmend/kmend/test/postgres"
)

// diagnosed measures a group and logs what was found.
func diagnosed(t *testing.T, l *lab, dir string) incident.Diagnosis {
	t.Helper()
	m := measure(t, newAgent(t, nil), Request{Target: incident.Target{Cgroup: dir}, Window: 2 * time.Second})
	d := cause.Diagnose(m)
	logFigures(t, d)
	for _, p := range d.Probes {
		t.Logf("  probe %s %s lost %d %s", p.Name, p.Status, p.Lost, p.Reason)
	}
	for _, e := range d.Evidence {
		if e.Probe == "postgres" || e.Probe == "jvm" {
			t.Logf("  %s %s %s = %v %s", e.ID, e.Metric, e.Subject, e.Value, e.Unit)
		}
	}
	return d
}

// A row lock that is held is the root cause; a slow query beside a held lock is not.
func TestDatabaseLock(t *testing.T) {
	l := newLab(t)
	dir := l.group("target", 1024, 0)
	server := postgres.Start(t, dir)
	holder, waiter := server.Connect(), server.Connect()
	holder.Do("create table t (id int primary key, n int)", "insert into t select i, 0 from generate_series(1, 100) i",
		"begin", "update t set n = 1 where id = 7")
	t.Run("slow query", func(t *testing.T) {
		slept := waiter.Go("select pg_sleep(4)")
		if _, ok := diagnosed(t, l, dir).Finding(incident.DBLockWait); ok {
			t.Error("a query that sleeps is a lock")
		}
		if err := slept(); err != nil {
			t.Error(err)
		}
	})
	t.Run("row lock", func(t *testing.T) {
		done := waiter.Go("update t set n = 2 where id = 7")
		time.Sleep(300 * time.Millisecond)
		d := diagnosed(t, l, dir)
		holder.Do("commit")
		if err := done(); err != nil {
			t.Error(err)
		}
		root, ok := d.RootCause()
		if !ok || root.Cause != incident.DBLockWait || !strings.Contains(root.Message, "idle in transaction") {
			t.Errorf("%s: %+v", d.Verdict, d.Findings)
		}
	})
}

// A heap that is nearly full is the root cause; computing is not, nor is a lock.
func TestGarbageCollection(t *testing.T) {
	for _, c := range []struct {
		name, mode string
		options    []string
		threads    int
		want       bool
	}{
		{"serial", "garbage", []string{"-XX:+UseSerialGC", "-Xmx64m"}, 1, true},
		{"parallel", "garbage", []string{"-XX:+UseParallelGC", "-Xmx64m", "-XX:ParallelGCThreads=2"}, 1, true},
		{"g1", "garbage", []string{"-XX:+UseG1GC", "-Xmx64m"}, 1, true},
		{"g1 at its ease", "garbage", []string{"-XX:+UseG1GC", "-Xmx1g"}, 1, false},
		{"lock", "lock", []string{"-XX:+UseG1GC"}, 3, false},
		{"compute", "compute", []string{"-XX:+UseParallelGC"}, 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			dir := l.group("target", 262144, 0)
			kilobytes := 30000
			if !c.want {
				kilobytes = 1000
			}
			jvm.Start(t, c.options, c.mode, c.threads, kilobytes, dir)
			time.Sleep(500 * time.Millisecond)
			d := diagnosed(t, l, dir)
			_, ok := d.Finding(incident.JVMGCPause)
			// Others on the machine may be a larger cause; they are none of another kind.
			if ok != c.want {
				t.Errorf("%s: %+v", d.Verdict, d.Findings)
			}
		})
	}
}
