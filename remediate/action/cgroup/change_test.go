package cgroup

import (
	"errors"
	"testing"

	"github.com/kmend/kmend/incident"
)

// stubborn is a group that takes the first writes, though it says that it did
// not: a kernel that stores another value, a read-back that fails.
type stubborn struct {
	now   quota
	takes int // writes that it stores; all of them fail
}

var errStubborn = errors.New("no")

func (s *stubborn) read() (quota, error) { return s.now, nil }

func (s *stubborn) write(q quota) error {
	if s.takes--; s.takes >= 0 {
		s.now = q
	}
	return errStubborn
}

func TestChangeSaysWhatStays(t *testing.T) {
	seen, wanted := quota{30_000, 100_000}, quota{60_000, 100_000}
	done := incident.Execution{Result: "already applied", State: map[string]string{"was_quota_us": "30000"}}
	x, err := change(&stubborn{now: seen, takes: 1}, seen, wanted, done)
	if !errors.Is(err, errStubborn) || x.Result != "applied" || x.State["was_quota_us"] != "30000" {
		t.Errorf("a write that stays: %+v, %v; want the execution with the error", x, err)
	}
	x, err = change(&stubborn{now: seen}, seen, wanted, done)
	if !errors.Is(err, errStubborn) || x.Result != "" || x.State != nil {
		t.Errorf("a write that never was: %+v, %v; want the error alone", x, err)
	}
}
