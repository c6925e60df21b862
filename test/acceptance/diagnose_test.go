package acceptance

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/server"
	"github.com/kmend/kmend/test/throttled"
)

// The three confusions, by the program a person would type.
func TestDiagnose(t *testing.T) {
	crowd := throttled.Busy(3*runtime.NumCPU(), 0)
	alone := throttled.Busy(1, 0)
	alone.First = true // as good as alone on a machine that does something else besides
	// A loop for each CPU: a single one would find room beside the crowd, whose
	// weight is shared out over all CPUs.
	cases := []struct {
		name     string
		workload throttled.Options
		crowded  bool
		want     incident.Cause
	}{
		{"throttled, the machine idle", throttled.DefaultOptions(), false, incident.CPUThrottled},
		{"throttled, the machine saturated", throttled.Busy(4, 0.1), true, incident.CPUThrottled},
		{"a quota that is not reached, the machine saturated", throttled.Busy(runtime.NumCPU(), 4*float64(runtime.NumCPU())), true, incident.CPUSaturated},
		{"a busy loop alone", alone, false, incident.CPUBusy},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := start(t, c.workload)
			if c.crowded {
				neighbour := start(t, crowd)
				defer func() { t.Logf("neighbour is %s", neighbour.Path) }()
			}
			d := diagnose(t, w.Path)
			f, ok := d.RootCause()
			if !ok || f.Cause != c.want {
				t.Fatalf("verdict %s, findings %+v; want %s", d.Verdict, d.Findings, c.want)
			}
			t.Logf("%s (share %.2f)", f.Message, f.Share)
		})
	}
}

func diagnose(t *testing.T, path string) incident.Diagnosis {
	t.Helper()
	out, err := server.Run(t.Context(), kmend, "diagnose", "--cgroup", path, "--window", "2s", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var d incident.Diagnosis
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if d.APIVersion != incident.APIVersion || d.Kind != "Diagnosis" {
		t.Errorf("it is %s %s", d.APIVersion, d.Kind)
	}
	return d
}

// The exit status is a contract: 0 any verdict, 1 an error, 2 bad usage; and
// each error says what to do.
func TestExitStatus(t *testing.T) {
	machine(t)
	gone := fmt.Sprintf("/sys/fs/cgroup/kmend-test-gone-%d", os.Getpid())
	cases := []struct {
		args   string
		status int
		says   string
	}{
		{"version", 0, ""},
		{"diagnose --cgroup " + gone, 1, gone},
		{"diagnose --pid 2147483647", 1, "2147483647"},
		{"diagnose", 2, "--cgroup"},
		{"diagnose --cgroup /a --pid 1", 2, ""},
		{"diagnose --cgroup /a --window 3", 2, "window"},
		{"diagnose --window forever --pid 1", 2, "window"},
		{"nonsense", 2, "nonsense"},
		{"serve --config /nonexistent/kmend.yaml", 1, "/nonexistent/kmend.yaml"},
		{"incidents list --server http://127.0.0.1:1", 1, "127.0.0.1:1"},
	}
	for _, c := range cases {
		t.Run(c.args, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), kmend, strings.Fields(c.args)...)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			err := cmd.Run()
			status := 0
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				status = exit.ExitCode()
			} else if err != nil {
				t.Fatal(err)
			}
			if status != c.status || !strings.Contains(stderr.String(), c.says) {
				t.Errorf("status %d, stderr %q; want %d and %q", status, stderr.String(), c.status, c.says)
			}
			if strings.Contains(stderr.String(), "goroutine ") {
				t.Errorf("it panicked:\n%s", stderr.String())
			}
		})
	}
}
