package agent

import (
	"context"
	"os"
	"testing"

	"github.com/kmend/kmend/test/workload/load"
	"go.uber.org/goleak"
)

// asWorkload makes the test binary the workload.
const asWorkload = "KMEND_TEST_WORKLOAD"

func TestMain(m *testing.M) {
	if os.Getenv(asWorkload) != "" || os.Getenv(load.ExitEnv) != "" {
		os.Exit(load.Main(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}
