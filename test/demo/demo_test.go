package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/throttled"
)

func TestMain(m *testing.M) {
	throttled.RunIfAsked()
	os.Exit(m.Run())
}

// script runs what `make demo` runs.
func script(t *testing.T, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "./run", "-out", t.TempDir())
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

func realMachine(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes half a minute; `make test` runs it")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root; `make test` runs it as root")
	}
	build := script(t)
	build.Args = []string{"./run", "-h"} // fetches and builds, then shows the flags
	if out, err := build.CombinedOutput(); err != nil && !strings.Contains(string(out), "the demo starts") {
		t.Fatalf("%v\n%s", err, out)
	}
}

// The whole, as a user sees it.
func TestDemo(t *testing.T) {
	realMachine(t)
	cmd := script(t)
	began := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(began)
	t.Logf("%s\n%s", took, out)
	if err != nil {
		t.Fatal(err)
	}
	if took > time.Minute {
		t.Errorf("it took %s; a minute is allowed", took)
	}
	b, err := os.ReadFile(filepath.Join(cmd.Args[2], "incidents.json"))
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Items []incident.Incident `json:"items"`
	}
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 2 || list.Items[0].Outcome != incident.DryRun || list.Items[1].Outcome != incident.Fixed {
		t.Errorf("incidents.json has %d incidents; want a dry run and a fixed one", len(list.Items))
	}
	for _, want := range []string{"*Summary* by kmend", "kmend " + list.Items[1].ID + ": fixed\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("what is sent to Slack and PagerDuty is not printed: no %q", want)
		}
	}
	documented(t, string(out))
	nothingIsLeft(t, string(out))
}

// Ctrl-C in the middle: everything is stopped and removed.
func TestInterrupted(t *testing.T) {
	realMachine(t)
	cmd, out := diagnosing(t)
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil { // as the terminal does
		t.Error(err)
	}
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 130 {
		t.Errorf("it ended with %v; want exit status 130\n%s", err, out.String())
	}
	nothingIsLeft(t, out.String())
}

// kmend dies in the middle: the demo fails, says so, and leaves nothing either.
func TestKmendDies(t *testing.T) {
	realMachine(t)
	cmd, out := diagnosing(t)
	killed := 0
	for _, file := range running(t, "kmend") {
		var pid, parent int
		stat, err := os.ReadFile(filepath.Join(filepath.Dir(file), "stat"))
		if err != nil {
			continue // it ended meanwhile
		}
		if _, err := fmt.Sscanf(string(stat), "%d (kmend) %1s %d", &pid, new(string), &parent); err != nil {
			t.Fatalf("reading %q: %v", stat, err)
		}
		if parent != cmd.Process.Pid { // another demo's
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		killed++
	}
	began := time.Now()
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 || killed != 1 {
		t.Errorf("%d killed, and it ended with %v; want one and exit status 1\n%s", killed, err, out.String())
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s to see that kmend is gone", took)
	}
	if !strings.Contains(out.String(), "kmend serve ended (signal: killed)") || strings.Contains(out.String(), "all of this happened") {
		t.Errorf("it does not say that kmend ended:\n%s", out.String())
	}
	nothingIsLeft(t, out.String())
}

// diagnosing is a demo in the middle of its first diagnosis.
func diagnosing(t *testing.T) (*exec.Cmd, *strings.Builder) {
	t.Helper()
	cmd, out := script(t), &strings.Builder{}
	seen := make(chan struct{})
	cmd.Stdout = &until{word: "diagnosing:", seen: seen, out: out}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-seen:
	case <-time.After(time.Minute):
		t.Error("it did not diagnose within a minute")
	}
	return cmd, out
}

// nothingIsLeft looks for what the output names: the cgroup, the servers' ports.
func nothingIsLeft(t *testing.T, out string) {
	t.Helper()
	_, rest, ok := strings.Cut(out, "threads in ")
	path, _, ok2 := strings.Cut(rest, " ")
	if !ok || !ok2 {
		t.Fatalf("no cgroup is named:\n%s", out)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there (%v)", path, err)
	}
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), "kmend-demo-*"))
	if len(dirs) != 0 {
		t.Errorf("left behind: %v", dirs)
	}
	for _, name := range []string{"demo", "kmend", "prometheus-alertmanager"} {
		if pids := running(t, name); len(pids) != 0 {
			t.Errorf("%s still runs: %v", name, pids)
		}
	}
}

// running are the processes of this machine that belong to a demo.
func running(t *testing.T, name string) []string {
	t.Helper()
	var pids []string
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, _ := os.ReadFile(f)
		args := strings.Split(string(b), "\x00")
		if filepath.Base(args[0]) == name && strings.Contains(string(b), "kmend-demo-") {
			pids = append(pids, f)
		}
	}
	return pids
}

// What the machine lacks is one clear sentence and exit status 1.
func TestSaysWhatIsMissing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the first thing it asks for is root; `make test` runs this as root")
	}
	fakes := t.TempDir()
	fake := func(name, text string) string {
		dir := filepath.Join(fakes, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho "+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return "PATH=" + dir + ":" + os.Getenv("PATH")
	}
	cases := []struct{ name, env, says string }{
		{"not Linux", fake("uname", "Darwin"), "make demo needs Linux, because it measures inside the Linux kernel; this is Darwin.\n"},
		{"not root", fake("id", "1000"), "make demo needs root, because it loads eBPF programs and makes a cgroup: run it with sudo.\n"},
		{"no BTF", "KMEND_DEMO_BTF=/nonexistent", "make demo needs a kernel with BTF"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			out, err := script(t, c.env).CombinedOutput()
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok || exit.ExitCode() != 1 || !strings.HasPrefix(string(out), c.says) || strings.Count(string(out), "\n") != 1 {
				t.Errorf("%v, %q; want exit status 1 and one line %q", err, out, c.says)
			}
		})
	}
}

// until closes seen when word has been written.
type until struct {
	word string
	seen chan struct{}
	out  *strings.Builder
	done bool
}

func (u *until) Write(p []byte) (int, error) {
	u.out.Write(p)
	if !u.done && strings.Contains(u.out.String(), u.word) {
		u.done = true
		close(u.seen)
	}
	return len(p), nil
}
