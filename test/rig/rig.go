// Package rig is what the tests on the real kernel share: cgroups, and known load
// in them. The test binary is its own workload, so that it is the only file a VM
// needs: a package that uses the rig has
//
//	func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }
package rig

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/kmend/kmend/test/workload/load"
)

const workloadEnv = "KMEND_WORKLOAD"

// Main runs the tests in a cgroup of their own, or is the workload of one of
// them. It gives the exit status.
func Main(m *testing.M) int {
	if os.Getenv(workloadEnv) != "" || os.Getenv(load.ExitEnv) != "" {
		return load.Main(context.Background(), os.Args[1:], os.Stdout, os.Stderr)
	}
	if os.Geteuid() == 0 {
		leave, err := enterTop()
		if err != nil {
			fmt.Fprintln(os.Stderr, "the tests need to make cgroups:", err)
			return 1
		}
		defer leave()
	}
	return m.Run()
}

// Root skips a test that needs root.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root and runs in `make test` and test/kernels as root")
	}
}

// Stolen is the steal time of all CPUs since boot, in ms; /proc/stat counts in
// hundredths of a second (USER_HZ).
func Stolen(t testing.TB) float64 {
	t.Helper()
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	ticks, err := strconv.ParseFloat(strings.Fields(string(b))[8], 64)
	if err != nil {
		t.Fatal(err)
	}
	return ticks * 10
}
