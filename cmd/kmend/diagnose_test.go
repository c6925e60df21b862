package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/diagnose/agent"
	"github.com/kmend/kmend/incident"
)

func diagnoseWith(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, log bytes.Buffer
	status = run(t.Context(), append([]string{"diagnose"}, args...), &output{Stdout: &out, Stderr: &log})
	return status, out.String(), log.String()
}

func TestDiagnoseUsage(t *testing.T) {
	for args, text := range map[string]string{
		"":                                  "--cgroup",
		"--pid 1 --cgroup /sys/fs/cgroup":   "can't be used together",
		"--pid 1 --pod a/b":                 "can't be used together",
		"--pid x":                           "--pid",
		"--pid=-3":                          "write the number of a process",
		"--pod a":                           "NAMESPACE/NAME",
		"--pod a/b/c/d":                     "NAMESPACE/NAME",
		"--pod ../x":                        "NAMESPACE/NAME",
		"--pid 1 --window 1ms":              "500ms to 60s",
		"--pid 1 --window 2h":               "500ms to 60s",
		"--pid 1 --window soon":             "--window",
		"--cgroup /x --until 3m":            "give --since too",
		"--cgroup /x --since 5m --until 6m": "allowed: 2s to 15m",
		"--cgroup /x --since 2s --until 1s": "allowed: 2s to 15m",
		"--cgroup /x --since 20m":           "allowed: 2s to 15m",
		"--cgroup /x --since=-5m":           "how long ago",
		"--pid 1 -o xml":                    "--output",
		"--pid 1 more":                      "unexpected argument",
	} {
		status, stdout, stderr := diagnoseWith(t, strings.Fields(args)...)
		if status != exitUsage || stdout != "" || !strings.Contains(stderr, text) {
			t.Errorf("%q: %d %s%s, want %d with %q", args, status, stdout, stderr, exitUsage, text)
		}
	}
	if status, _, stderr := diagnoseWith(t, "--cgroup", ""); status != exitUsage || !strings.Contains(stderr, "target is empty") {
		t.Errorf("an empty cgroup: %d %s", status, stderr)
	}
}

func TestDiagnoseErrorsSayWhatToDo(t *testing.T) {
	for args, text := range map[string]string{
		"--cgroup /sys/fs/cgroup/no/such":             "the cgroups of this node are below",
		"--cgroup /etc":                               "must be a directory below",
		"--pid 1073741824":                            "does not exist on this node",
		"--pod a/b --cri-socket /nonexistent.sock":    "--cri-socket",
		"--pod a/b/c --cri-socket unix:///nonexist.s": "CONTAINER_RUNTIME_ENDPOINT",
	} {
		status, stdout, stderr := diagnoseWith(t, strings.Fields(args)...)
		if status != exitError || stdout != "" || !strings.Contains(stderr, text) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: %d %s%s, want %d with one line that has %q", args, status, stdout, stderr, exitError, text)
		}
	}
}

// The keys of the JSON are a contract that scripts build on.
func TestDiagnoseThisProcess(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("eBPF needs root; make test runs it as root")
	}
	args := []string{"--pid", strconv.Itoa(os.Getpid()), "--window", "500ms"}
	status, stdout, stderr := diagnoseWith(t, append(args, "-o", "json")...)
	var d incident.Diagnosis
	dec := json.NewDecoder(strings.NewReader(stdout))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); status != exitOK || err != nil || stderr != "" {
		t.Fatalf("%d %v %s%s", status, err, stdout, stderr)
	}
	if d.Kind != "Diagnosis" || d.APIVersion != incident.APIVersion || len(d.Findings) == 0 || d.Window.Seconds < 0.5 || d.Target.PID != os.Getpid() {
		t.Errorf("%+v", d)
	}
	for _, key := range []string{"target", "window", "verdict", "findings", "evidence", "ledger", "probes", "cost", "wall_ms", "cpu_ms", "states", "on_cpu"} {
		if !strings.Contains(stdout, strconv.Quote(key)+":") {
			t.Errorf("no %q in %s", key, stdout)
		}
	}
	status, stdout, stderr = diagnoseWith(t, args...)
	if status != exitOK || stderr != "" || !strings.Contains(stdout, "pid "+strconv.Itoa(os.Getpid())) || strings.Contains(stdout, "\x1b") {
		t.Errorf("%d %s%s", status, stdout, stderr)
	}
}

// The agent of the node measures; whoever asks it loads nothing.
func TestDiagnoseAsksAgent(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("eBPF needs root; make test runs it as root")
	}
	o := agent.DefaultOptions()
	o.NodeName = "asked"
	o.NoRecorder = "nothing is recorded here"
	a, err := agent.New(o)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "agent.sock")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- agent.ServeSocket(ctx, a, path, slog.New(slog.DiscardHandler)) }()
	defer func() {
		stop()
		if err := errors.Join(<-done, a.Close()); err != nil {
			t.Error(err)
		}
	}()
	for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			break
		}
		if time.Since(begun) > 10*time.Second {
			t.Fatal("no socket after 10 s")
		}
	}
	args := []string{"--pid", strconv.Itoa(os.Getpid()), "--agent", path}
	status, stdout, stderr := diagnoseWith(t, append(args, "--window", "500ms", "-o", "json")...)
	var d incident.Diagnosis
	if err := json.Unmarshal([]byte(stdout), &d); status != exitOK || err != nil || stderr != "" {
		t.Fatalf("%d %v %s%s", status, err, stdout, stderr)
	}
	if d.Node.Name != "asked" || d.Window.Seconds < 0.5 || d.Ledger.Threads == 0 {
		t.Errorf("%+v", d)
	}
	if status, _, stderr := diagnoseWith(t, append(args, "--since", "10s")...); status != exitError || !strings.Contains(stderr, o.NoRecorder) {
		t.Errorf("the past: %d %s", status, stderr)
	}
	for _, nobody := range []string{"/nonexistent.sock", t.TempDir()} {
		if status, _, stderr := diagnoseWith(t, "--pid", "1", "--agent", nobody); status != exitError || !strings.Contains(stderr, "kmend-agent serve") {
			t.Errorf("%s: %d %s", nobody, status, stderr)
		}
	}
}
