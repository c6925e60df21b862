package throttled

import (
	"errors"
	"os"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	RunIfAsked()
	os.Exit(m.Run())
}

// The workload is throttled under its quota and is not under twice as much; the
// kernel says so, and the workload's own requests get faster.
func TestThrottledUntilTheQuotaIsDoubled(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("makes a cgroup, which needs root; `make test` runs it as root")
	}
	if testing.Short() {
		t.Skip("takes seconds; `make test` runs it")
	}
	o := DefaultOptions()
	w, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	path := w.Path
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", path, err)
		}
	})
	grown := func() Stat {
		time.Sleep(300 * time.Millisecond)
		before, err := w.Stat()
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		after, err := w.Stat()
		if err != nil {
			t.Fatal(err)
		}
		return after.Sub(before)
	}
	slow := grown()
	if slow.Throttled < slow.Periods*2/3 || slow.Periods < 15 {
		t.Errorf("under %.2f CPU: %+v; want it throttled in most periods", o.Quota, slow)
	}
	before, err := w.Latency()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.SetQuota(2 * o.Quota); err != nil {
		t.Fatal(err)
	}
	if q, err := w.Quota(); err != nil || q != 2*o.Quota {
		t.Errorf("Quota() = %v, %v", q, err)
	}
	fast := grown()
	if fast.Throttled > fast.Periods/10 {
		t.Errorf("under %.2f CPU: %+v; want it hardly throttled", 2*o.Quota, fast)
	}
	after, err := w.Latency()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("throttled %d of %d periods, p99 %s; then %d of %d, p99 %s",
		slow.Throttled, slow.Periods, before.P99, fast.Throttled, fast.Periods, after.P99)
	if after.P99 >= before.P99 {
		t.Errorf("p99 of a request %s before and %s after", before.P99, after.P99)
	}
}

func TestStartRefusesNonsense(t *testing.T) {
	if _, err := Start(t.Context(), Options{Work: time.Second}); err == nil {
		t.Error("no threads were accepted")
	}
}
