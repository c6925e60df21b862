package probe

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
)

func TestUnsupportedSaysWhatToDo(t *testing.T) {
	var u *UnsupportedError
	for _, err := range []error{noBTF("x", errors.New("gone")), noPrivileges("x", "uid 1000"), typed("x", ebpf.ErrNotSupported)} {
		if !errors.As(err, &u) || u.Probe != "x" || u.What == "" || u.Reason == "" || u.Do == "" || !strings.HasPrefix(err.Error(), "probe x is unsupported here") {
			t.Errorf("%v: %+v", err, u)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("the rest needs root and runs in `make test` and test/kernels as root")
	}
	if err := Supported("x", "sched_switch"); err != nil {
		t.Errorf("sched_switch: %v", err)
	}
	if err := Supported("x", "sched_switch", "no_such_event"); !errors.As(err, &u) || u.What != "tracepoint no_such_event" {
		t.Errorf("a tracepoint that does not exist: %v", err)
	}
}

func TestTableSizes(t *testing.T) {
	for _, n := range []int{0, 15, MaxGroups + 1} {
		if _, err := NewMembers(n); err == nil || !strings.Contains(err.Error(), "allowed are 16 to 1048576") {
			t.Errorf("%d groups: %v", n, err)
		}
	}
}
