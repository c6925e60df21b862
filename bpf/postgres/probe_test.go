package postgres

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/kmend/kmend/test/postgres"
)

const window = time.Second

// witness is what the server itself says about a backend that waits.
type witness struct {
	lockType, mode string
	blockers       []int32
	waited         float64 // ms since the wait began
}

// ask waits until the server says that the backend waits for a lock.
func ask(t *testing.T, admin *postgres.Conn, pid int) (w witness) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		err := admin.QueryRow(context.Background(), `select locktype, mode, pg_blocking_pids(pid),
			coalesce(extract(epoch from clock_timestamp() - waitstart) * 1000, 0)::float8
			from pg_locks where pid = $1 and not granted`, pid).Scan(&w.lockType, &w.mode, &w.blockers, &w.waited)
		if err == nil {
			return w
		}
	}
	t.Fatalf("backend %d does not wait", pid)
	return w
}

// of is the wait of a backend; there is one.
func of(t *testing.T, r Result, pid int) Wait {
	t.Helper()
	i := slices.IndexFunc(r.Waits, func(w Wait) bool { return w.PID == pid })
	if i < 0 {
		t.Fatalf("no wait of backend %d", pid)
	}
	return r.Waits[i]
}

func (w Wait) check(t *testing.T, want witness) {
	t.Helper()
	if w.Lock.TypeName() != want.lockType || w.Lock.ModeName() != want.mode {
		t.Errorf("waits for %s %s, the server says %s %s", w.Lock.TypeName(), w.Lock.ModeName(), want.lockType, want.mode)
	}
	if !slices.Contains(want.blockers, int32(w.Holder.PID)) {
		t.Errorf("held by %d, the server says %v", w.Holder.PID, want.blockers)
	}
	// A backend that waits for a lock does not run: that is what the kernel billed.
	if w.RanNS > w.NS/2 {
		t.Errorf("ran for %.1f of the %.1f ms that it waited", ms(w.RanNS), ms(w.NS))
	}
}

// Waits that were there before the window and outlast it: a chain of two.
func TestWaitsBeforeWindow(t *testing.T) {
	b := newBench(t)
	admin, holder, waiter, second := b.server.Connect(), b.server.Connect(), b.server.Connect(), b.server.Connect()
	holder.Do("create table t (id int primary key, n int)", "insert into t select i, 0 from generate_series(1, 100) i",
		"begin", "update t set n = n + 1 where id = 7")
	done := waiter.Go("update t set n = n + 1 where id = 7")
	first := ask(t, admin, waiter.PID)
	done2 := second.Go("update t set n = n + 1 where id = 7")
	then := ask(t, admin, second.PID)
	r := b.measure(window, nil)
	w := of(t, r, waiter.PID)
	w.check(t, first)
	if w.Holder.PID != holder.PID || w.Holder.Doing != "idle in transaction" || w.Root != w.Holder {
		t.Errorf("holder %+v, root %+v, want %d", w.Holder, w.Root, holder.PID)
	}
	w2 := of(t, r, second.PID)
	w2.check(t, then)
	if w2.Holder.PID != waiter.PID || w2.Root.PID != holder.PID {
		t.Errorf("holder %+v, root %+v, want %d and %d", w2.Holder, w2.Root, waiter.PID, holder.PID)
	}
	for _, w := range r.Waits {
		// Sampled eleven times, each time it waited.
		if !w.Open || !w.Before || w.NS < uint64(window)*9/10 || w.NS > uint64(window) || w.SampledNS < uint64(window)*9/10 {
			t.Errorf("backend %d waited %.1f ms, sampled %.1f, open %v, before %v", w.PID, ms(w.NS), ms(w.SampledNS), w.Open, w.Before)
		}
	}
	if len(r.Waits) != 2 {
		t.Errorf("%d waits, want 2", len(r.Waits))
	}
	holder.Do("commit")
	if err := errors.Join(done(), done2()); err != nil {
		t.Error(err)
	}
}

// Waits that begin and end in the window, of every kind that has an object, and
// one that ends in an error.
func TestWaitsInsideWindow(t *testing.T) {
	b := newBench(t)
	admin, holder, waiter := b.server.Connect(), b.server.Connect(), b.server.Connect()
	holder.Do("create table t (id int)", "create table u (id int)", "insert into u values (1)")
	for _, c := range []struct {
		name                      string
		lock, wait, release, want string
		fails                     bool
		set                       string
	}{
		{name: "relation", lock: "begin; lock table t in access exclusive mode", wait: "select count(*) from t", release: "commit", want: "relation"},
		{name: "advisory", lock: "select pg_advisory_lock(42)", wait: "select pg_advisory_xact_lock(42)", release: "select pg_advisory_unlock(42)", want: "advisory"},
		{name: "transactionid", lock: "begin; delete from u", wait: "update u set id = 2", release: "rollback", want: "transactionid"},
		{name: "lock_timeout", lock: "begin; lock table t", wait: "select count(*) from t", release: "commit", want: "relation", fails: true, set: "set lock_timeout = '250ms'"},
		{name: "prepared", lock: "begin; delete from u; prepare transaction 'p'", wait: "update u set id = 2", release: "rollback prepared 'p'", want: "transactionid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &bench{t, b.group, b.server}
			waiter.Do("set lock_timeout = 0")
			if c.set != "" {
				waiter.Do(c.set)
			}
			holder.Do(c.lock)
			var said witness
			var took time.Duration
			// Twice as long as it takes, for a machine that is slow to wake up.
			r := b.measure(2*window, func() {
				begin := time.Now()
				done := waiter.Go(c.wait)
				said = ask(t, admin, waiter.PID)
				if !c.fails {
					time.Sleep(window / 4)
					said = ask(t, admin, waiter.PID) // how long it has waited by now
					holder.Do(c.release)
				}
				err := done()
				took = time.Since(begin)
				if _, isPG := errors.AsType[*pgconn.PgError](err); c.fails != isPG {
					t.Errorf("the wait ended with %v", err)
				}
			})
			if c.fails {
				holder.Do(c.release)
			}
			w := of(t, r, waiter.PID)
			if c.name == "prepared" {
				if !w.Holder.Prepared {
					t.Errorf("holder %+v, want a prepared transaction", w.Holder)
				}
				w.Holder.PID = int(said.blockers[0])
			} else if w.Holder.PID != holder.PID {
				t.Errorf("holder %+v, want %d", w.Holder, holder.PID)
			}
			w.check(t, said)
			if w.Lock.TypeName() != c.want || w.Count != 1 || w.Open || w.Before {
				t.Errorf("%d waits for %s, open %v, before %v", w.Count, w.Lock.TypeName(), w.Open, w.Before)
			}
			// Between what the server said while it lasted and what the client saw. Where
			// the wait ends in an error its end is known from samples.
			least, most := said.waited, ms(uint64(took))
			if c.fails {
				least = 0
			}
			if got := ms(w.NS); got < least-1 || got > most+1 {
				t.Errorf("waited %.1f ms, the server and the client say %.1f to %.1f", got, least, most)
			}
		})
	}
}

// Slow is not waiting for a lock.
func TestNoLock(t *testing.T) {
	b := newBench(t)
	holder, sleeper, scanner := b.server.Connect(), b.server.Connect(), b.server.Connect()
	holder.Do("create table t (id int)", "insert into t select generate_series(1, 1000)", "begin", "update t set id = id + 1")
	slept := sleeper.Go("select pg_sleep(1.5)")
	scanned := scanner.Go("select count(*) from generate_series(1, 3000000)")
	if r := b.measure(window, nil); len(r.Waits) != 0 {
		t.Errorf("%d waits, and nobody waits for a lock", len(r.Waits))
	}
	if err := errors.Join(slept(), scanned()); err != nil {
		t.Error(err)
	}
}

// Many short waits for one row, and a server beside the target that has them too.
func TestContention(t *testing.T) {
	b := newBench(t)
	other := postgres.Start(t)
	ctx, stop := context.WithCancel(t.Context())
	running := make(chan int64)
	const clients = 4
	for _, s := range []*postgres.Server{b.server, other} {
		s.Connect().Do("create table t (id int primary key, n int)", "insert into t values (1, 0)")
		for range clients {
			c := s.Connect()
			go func() {
				var n int64
				for ctx.Err() == nil {
					if _, err := c.Exec(context.Background(), "update t set n = n + 1 where id = 1"); err != nil {
						t.Error(err)
						break
					}
					n++
				}
				running <- n
			}()
		}
	}
	r := b.measure(window, nil)
	stop()
	var updates int64
	for range 2 * clients {
		updates += <-running
	}
	count, total := 0, uint64(0)
	ours := b.server.PIDs()
	for _, w := range r.Waits {
		count += w.Count
		total += w.NS
		if !slices.Contains(ours, w.PID) {
			t.Errorf("backend %d is not of the target", w.PID)
		}
	}
	t.Logf("%d waits, %.1f ms; %d updates", count, ms(total), updates)
	if count == 0 || total > clients*uint64(window) {
		t.Errorf("%d waits of %.1f ms in %d backends", count, ms(total), clients)
	}
}
