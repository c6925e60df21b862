package redis_test

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	real "github.com/kmend/kmend/test/redis"
)

func clusterWith(nodes []*real.Server) map[string]any {
	return map[string]any{"nodes": real.Addrs(nodes[:3]), "from": nodes[0].Addr, "minInterval": "0s"}
}

func TestClusterFailsOverOnceAndBack(t *testing.T) {
	t.Parallel()
	n, a := real.StartCluster(t), clusterAction(t)
	with := clusterWith(n)
	// Slot 866 is the first master's.
	n[0].Do("SET", "b{3560}", "v")
	step := preview(t, a, with)
	if p := step.Preview; p.Irreversible || p.Before != "master "+n[0].Addr || p.After != "master "+n[3].Addr {
		t.Errorf("preview %+v", p)
	}
	refused(t, a, step, but(with, "minInterval", "1h"), "with.minInterval")
	refused(t, a, step, but(with, "from", "127.0.0.1:1"), "the Cluster has no node")
	refused(t, a, unplanned, but(with, "from", n[4].Addr), "is not the master now")
	done := apply(t, a, step)
	if done.Result != "applied" || done.After != "master "+n[3].Addr {
		t.Errorf("applied %+v", done)
	}
	if got := n[3].Info("role") + " " + n[0].Info("role") + " " + n[0].Info("master_link_status"); got != "master slave up" {
		t.Errorf("new and old master: %s", got)
	}
	if got := n[3].Do("GET", "b{3560}"); got != "v" {
		t.Errorf("the new master has %v", got)
	}
	// The same plan as if kmend had crashed before it could record what it did.
	epoch := n[3].Do("CLUSTER", "INFO")
	again := apply(t, a, step)
	if again.Result != "already applied" || fmt.Sprint(again.State) != fmt.Sprint(done.State) {
		t.Errorf("the second time %+v, the first %+v", again, done)
	}
	if now := n[3].Do("CLUSTER", "INFO"); current(now) != current(epoch) {
		t.Errorf("there was another failover: epoch %s, then %s", current(epoch), current(now))
	}
	stale := done
	stale.State = map[string]string{"from": n[0].Addr, "to": n[3].Addr, "epoch": "1"}
	if _, err := a.Undo(t.Context(), none, step, stale); err == nil || !strings.Contains(err.Error(), "there was another failover since") {
		t.Errorf("Undo after somebody else's failover: %v", err)
	}
	back, err := a.Undo(t.Context(), none, step, done)
	if err != nil || back.Result != "undone" || n[0].Info("role") != "master" {
		t.Fatalf("Undo: %+v, %v; the old master is %s", back, err, n[0].Info("role"))
	}
	if back, err = a.Undo(t.Context(), none, step, done); err != nil || back.Result != "undone" {
		t.Errorf("the second Undo: %+v, %v", back, err)
	}
	refusedApply(t, a, step, "there was a failover since the plan was made")
}

func current(info any) string {
	_, rest, _ := strings.Cut(fmt.Sprint(info), "cluster_current_epoch:")
	epoch, _, _ := strings.Cut(rest, "\r")
	return epoch
}

func TestClusterRefuses(t *testing.T) {
	t.Parallel()
	n, a := real.StartCluster(t), clusterAction(t)
	with := clusterWith(n)
	plan := preview(t, a, with)

	// An idle master whose replica hears nothing.
	n[0].Do("CONFIG", "SET", "repl-ping-replica-period", "3600")
	quiet := but(with, "maxLagSeconds", 1)
	n[3].Until("it has heard nothing for long enough", func() error {
		if got := n[3].Info("master_last_io_seconds_ago"); got == "0" || got == "1" {
			return errors.New("it has within " + got + " s")
		}
		return nil
	})
	refused(t, a, plan, quiet, "more than 1 (with.maxLagSeconds)")
	n[0].Do("CONFIG", "SET", "repl-ping-replica-period", "1")

	// The replica hangs, first quietly, then as the Cluster has found.
	stop(t, n[3], syscall.SIGSTOP)
	refused(t, a, plan, with, "no replica can take over: "+n[3].Addr)
	stop(t, n[3], syscall.SIGCONT)
	n[0].Until("it is well again", func() error {
		_, err := a.Preview(t.Context(), none, with)
		return err
	})

	// Two of three masters do not answer the third, nor kmend.
	stop(t, n[1], syscall.SIGSTOP)
	stop(t, n[2], syscall.SIGSTOP)
	only := but(with, "nodes", []string{n[0].Addr})
	n[0].Until("it misses them", func() error {
		if text := fmt.Sprint(n[0].Do("CLUSTER", "INFO")); !strings.Contains(text, "cluster_state:fail") {
			return errors.New(text)
		}
		return nil
	})
	refused(t, a, plan, with, "1 of 3 nodes answer, a majority must")
	refused(t, a, plan, only, "cluster_state")
	stop(t, n[1], syscall.SIGCONT)
	stop(t, n[2], syscall.SIGCONT)
	n[0].Until("they are back", func() error {
		_, err := a.Preview(t.Context(), none, with)
		return err
	})

	// No replica is left.
	if err := n[3].Kill(); err != nil {
		t.Fatal(err)
	}
	refused(t, a, plan, with, "no replica")
	if got := n[0].Info("role"); got != "master" {
		t.Errorf("the master is %s", got)
	}
}
