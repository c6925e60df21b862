package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	real "github.com/kmend/kmend/test/redis"
)

func watchedWith(w *real.Watched) map[string]any {
	return map[string]any{"sentinels": real.Addrs(w.Sentinels), "master": "mymaster", "minInterval": "0s"}
}

// A failover to the only replica, as if kmend had crashed before it could record
// it, and the way back.
func TestSentinelFailsOverOnceAndBack(t *testing.T) {
	t.Parallel()
	w, a := real.StartWatched(t, 1), sentinelAction(t)
	w.Master.Do("SET", "k", "v")
	step := preview(t, a, watchedWith(w))
	if p := step.Preview; p.Irreversible || p.Before != "master "+w.Master.Addr || p.After != "master "+w.Replicas[0].Addr {
		t.Errorf("preview %+v", p)
	}
	refused(t, a, step, but(step.With, "minInterval", "1h"), "with.minInterval")
	refused(t, a, step, but(step.With, "from", "127.0.0.1:1"), "127.0.0.1:1 is not the master now")
	done := apply(t, a, step)
	if done.Result != "applied" || done.After != "master "+w.Replicas[0].Addr {
		t.Errorf("applied %+v", done)
	}
	if got := w.Replicas[0].Info("role"); got != "master" {
		t.Errorf("the replica's role is %s", got)
	}
	if got := w.Master.Info("role") + " " + w.Master.Info("master_link_status"); got != "slave up" {
		t.Errorf("the old master is %s", got)
	}
	if got := w.Replicas[0].Do("GET", "k"); got != "v" {
		t.Errorf("k is %v at the new master", got)
	}
	again := apply(t, a, step)
	if again.Result != "already applied" || fmt.Sprint(again.State) != fmt.Sprint(done.State) {
		t.Errorf("the second time %+v, the first %+v", again, done)
	}
	back, err := a.Undo(t.Context(), none, step, done)
	if err != nil || back.Result != "undone" || back.After != "master "+w.Master.Addr {
		t.Fatalf("Undo: %+v, %v", back, err)
	}
	if got := w.Master.Info("role"); got != "master" {
		t.Errorf("after the undo the old master is %s", got)
	}
	if back, err = a.Undo(t.Context(), none, step, done); err != nil || back.Result != "undone" {
		t.Errorf("the second Undo: %+v, %v", back, err)
	}
	// The plan is used up: its epoch is over, though the master is the plan's again.
	refusedApply(t, a, step, "there was a failover since the plan was made")
}

// A replica that hangs, one that may not be chosen, a plan that is stale, and
// Sentinels without a quorum.
func TestSentinelRefuses(t *testing.T) {
	t.Parallel()
	w, a := real.StartWatched(t, 2), sentinelAction(t)
	with := watchedWith(w)
	step := preview(t, a, with)
	if !step.Preview.Irreversible || !strings.Contains(step.Preview.Summary, "fail back") {
		t.Errorf("two replicas, and the preview promises to undo: %+v", step.Preview)
	}
	other := *step.Preview
	other.Preconditions = map[string]string{"master": w.Master.Addr, "epoch": step.Preview.Preconditions["epoch"], "run_id": strings.Repeat("0", 40)}
	stale := step
	stale.Preview = &other
	refusedApply(t, a, stale, "was restarted since the plan")
	short := step
	p := *step.Preview
	p.Apply = map[string]string{"to": w.Replicas[0].Addr}
	short.Preview = &p
	refusedApply(t, a, short, "Sentinel may choose "+w.Replicas[1].Addr+", which is not in the plan")

	// A replica whose link is slow. It goes through a proxy that holds back.
	for _, s := range w.Sentinels { // which would set its master right
		s.Do("SENTINEL", "SET", "mymaster", "failover-timeout", 600000)
	}
	link := through(t, w.Master.Addr)
	w.Replicas[0].Do("REPLICAOF", link.host, link.port)
	w.Replicas[0].Until("it replicates through the proxy", func() error {
		_, err := a.Preview(t.Context(), none, with)
		return err
	})
	link.hold(true)
	w.Master.Do("SET", "k", strings.Repeat("x", 100_000))
	refused(t, a, step, with, "more than 0 (with.maxLagBytes)")
	link.hold(false)

	// Stopped, but not yet down to Sentinel, which may still choose it.
	patient := func(ms int) {
		for _, s := range w.Sentinels {
			s.Do("SENTINEL", "SET", "mymaster", "down-after-milliseconds", ms)
		}
	}
	patient(60000)
	stop(t, w.Replicas[1], syscall.SIGSTOP)
	refused(t, a, step, with, "Sentinel may choose the replica "+w.Replicas[1].Addr)
	stop(t, w.Replicas[1], syscall.SIGCONT)
	patient(2000)

	w.Replicas[0].Do("CONFIG", "SET", "replica-priority", "0")
	w.Replicas[1].Do("CONFIG", "SET", "replica-priority", "0")
	w.Sentinels[0].Until("Sentinels know the priorities", func() error {
		_, err := a.Preview(t.Context(), none, with)
		if err == nil || !strings.Contains(err.Error(), w.Replicas[0].Addr+": its replica-priority is 0") || !strings.Contains(err.Error(), w.Replicas[1].Addr+": its replica-priority is 0") {
			return errors.Join(errors.New("Preview"), err)
		}
		return nil
	})
	refused(t, a, step, with, "no replica can take over")

	// No quorum: seen by the only Sentinel asked, and by the missing majority.
	for _, s := range w.Sentinels[1:] {
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	refused(t, a, step, with, "1 of 3 Sentinels answer, a majority must")
	one := but(with, "sentinels", real.Addrs(w.Sentinels[:1]))
	w.Sentinels[0].Until("the quorum is gone", func() error {
		if w.Sentinels[0].Client.Do(t.Context(), "SENTINEL", "CKQUORUM", "mymaster").Err() == nil {
			return errors.New("it is there")
		}
		return nil
	})
	refused(t, a, step, one, "NOQUORUM")
	if got := w.Master.Info("role"); got != "master" {
		t.Errorf("the master is %s", got)
	}
}

func TestSentinelNeedsAReplica(t *testing.T) {
	t.Parallel()
	w := real.StartWatched(t, 0)
	refused(t, sentinelAction(t), unplanned, watchedWith(w), "the master has no replica")
	refused(t, sentinelAction(t), unplanned, but(watchedWith(w), "master", "other"), "No such master")
}

// While a failover is under way, whoever began it, nothing is begun; and what it
// comes to is what counts.
func TestSentinelWaitsForAFailoverUnderWay(t *testing.T) {
	t.Parallel()
	w, a := real.StartWatched(t, 1), sentinelAction(t)
	step := preview(t, a, watchedWith(w))
	w.Sentinels[2].Do("SENTINEL", "FAILOVER", "mymaster")
	if _, err := a.Preview(t.Context(), none, step.With); err == nil || !strings.Contains(err.Error(), "a failover is under way") {
		t.Errorf("Preview: %v", err)
	}
	if x := apply(t, a, step); x.Result != "already applied" {
		t.Errorf("Apply: %+v", x)
	}
	if got := w.Sentinels[2].Do("SENTINEL", "MASTER", "mymaster"); !strings.Contains(fmt.Sprint(got), "config-epoch 1 ") {
		t.Errorf("there was more than one failover: %v", got)
	}
}

func stop(t *testing.T, s *real.Server, sig syscall.Signal) {
	t.Helper()
	if err := s.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// A failover that is cut short says so, and keeps the account that Undo needs.
func TestSentinelAccountsForWhatItDidNotSeeTheEndOf(t *testing.T) {
	t.Parallel()
	w, a := real.StartWatched(t, 1), sentinelAction(t)
	step := preview(t, a, watchedWith(w))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	x, err := a.Apply(ctx, none, step)
	if err == nil || x.State["from"] != w.Master.Addr || x.State["to"] != w.Replicas[0].Addr || x.Result != "applied" {
		t.Fatalf("Apply: %+v, %v", x, err)
	}
	if x, err = a.Undo(t.Context(), none, step, x); err != nil || w.Master.Info("role") != "master" {
		t.Errorf("Undo: %+v, %v; the old master is %s", x, err, w.Master.Info("role"))
	}
}
