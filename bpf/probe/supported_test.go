package probe

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
)

func TestUnsupportedSaysWhatToDo(t *testing.T) {
	var u *UnsupportedError
	jit := &ebpf.VerifierError{Cause: errors.New("errno 524"), Log: []string{"0: R1=ctx() R10=fp0", "JIT is required for calling kernel function", "processed 9 insns"}}
	for _, err := range []error{typed("x", fmt.Errorf("loading: %w", jit)), noBTF("x", errors.New("gone")), noPrivileges("x", "uid 1000"), typed("x", ebpf.ErrNotSupported)} {
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

func TestJITSetting(t *testing.T) {
	for setting, want := range map[string]bool{"0\n": false, "1\n": true, "2\n": true} {
		if got := jits([]byte(setting)); got != want {
			t.Errorf("net.core.bpf_jit_enable=%q: %v, want %v", setting, got, want)
		}
	}
}

func TestTableSizes(t *testing.T) {
	for _, n := range []int{0, 15, MaxGroups + 1} {
		if _, err := NewMembers(n); err == nil || !strings.Contains(err.Error(), "allowed are 16 to 1048576") {
			t.Errorf("%d groups: %v", n, err)
		}
	}
}
