// Package jvm runs Java virtual machines with known pauses for tests: the
// machine's own java (Debian: openjdk-17-jre-headless, which has the compiler as a
// module), and what testdata/Main.java does.
package jvm

import (
	"bufio"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

//go:embed testdata/Main.java
var source []byte

// Machine is a running one.
type Machine struct {
	PID int

	mu     sync.Mutex
	events []event
}

// event is a pause as the virtual machine's own log has it.
type event struct {
	end, length time.Duration // CLOCK_MONOTONIC
	safepoint   bool          // whole, as the application feels it; else the collection in it
}

// Java finds the program; tests that need one are skipped without it.
func Java(t testing.TB) string {
	t.Helper()
	java, err := exec.LookPath("java")
	if err != nil {
		t.Skip("needs java: apt-get install openjdk-17-jre-headless; runs in `make test`")
	}
	return java
}

// classes compiles the source once for each of its versions, into the user's cache.
var classes = sync.OnceValues(func() (dir string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(cache, "kmend", fmt.Sprintf("java-%x", sha256.Sum256(source)))
	if _, err := os.Stat(filepath.Join(dir, "Main.class")); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), "java-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	file := filepath.Join(work, "Main.java")
	if err := os.WriteFile(file, source, 0o644); err != nil {
		return "", err
	}
	out, err := exec.Command("java", "-XX:TieredStopAtLevel=1", "-m", "jdk.compiler/com.sun.tools.javac.Main", "-d", work, file).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("compiling %s: %w: %s", file, err, out)
	}
	if err := os.Rename(work, dir); err != nil && !errors.Is(err, fs.ErrExist) { // another test was faster
		return "", err
	}
	return dir, nil
})

// Start runs Main with options for java and its own arguments, in the cgroups, and
// returns when its threads work. It ends with the test.
func Start(t testing.TB, options []string, mode string, threads, kilobytes int, cgroups ...string) *Machine {
	t.Helper()
	return StartAs(t, &syscall.SysProcAttr{}, options, mode, threads, kilobytes, cgroups...)
}

// StartAs is Start with attributes of the process: its namespaces, say.
func StartAs(t testing.TB, attr *syscall.SysProcAttr, options []string, mode string, threads, kilobytes int, cgroups ...string) *Machine {
	t.Helper()
	java := Java(t)
	dir, err := classes()
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-Xlog:safepoint,gc:stdout:timenanos,tags"}, options...)
	cmd := exec.Command(java, append(args, "-cp", dir, "Main", mode, strconv.Itoa(threads), strconv.Itoa(kilobytes))...)
	attr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr = attr
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m := &Machine{PID: cmd.Process.Pid}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for _, dir := range cgroups {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(m.PID)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ready, left := make(chan struct{}), threads
	go m.read(out, func() {
		if left--; left == 0 {
			close(ready)
		}
	})
	select {
	case <-ready:
	case <-time.After(2 * time.Minute):
		t.Fatalf("java %v %s did not get ready in two minutes", options, mode)
	}
	return m
}

// The lines of JDK 17 to 25 with their time and tags:
//
//	[1234567ns][safepoint   ] Safepoint "G1CollectForAllocation", Time since last: ..., Total: 743494662 ns
//	[1234567ns][gc          ] GC(7) Pause Full (Allocation Failure) 47M->30M(61M) 302.399ms
var (
	safepointLine = regexp.MustCompile(`^\[(\d+)ns\]\[safepoint *\] Safepoint "([^"]*)".* Total: +(\d+) ns`)
	pauseLine     = regexp.MustCompile(`^\[(\d+)ns\]\[gc *\] GC\(\d+\) Pause .* (\d+[.,]\d+)ms`)
)

func (m *Machine) read(out io.Reader, ready func()) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() == "ready" {
			ready()
		}
		var e event
		if f := safepointLine.FindStringSubmatch(lines.Text()); f != nil {
			end, _ := strconv.ParseInt(f[1], 10, 64)
			length, _ := strconv.ParseInt(f[3], 10, 64)
			e = event{time.Duration(end), time.Duration(length), true}
		} else if f := pauseLine.FindStringSubmatch(lines.Text()); f != nil {
			end, _ := strconv.ParseInt(f[1], 10, 64)
			ms, _ := strconv.ParseFloat(f[2], 64)
			e = event{time.Duration(end), time.Duration(ms * 1e6), false}
		} else {
			continue
		}
		m.mu.Lock()
		m.events = append(m.events, e)
		m.mu.Unlock()
	}
}

// Paused is what the virtual machine's own log says about the time between two
// points of CLOCK_MONOTONIC: how long it stood still at safepoints, how many
// collections ended in it that stopped the application, and the time of those. It
// waits until something later is logged, or for a second.
func (m *Machine) Paused(from, to time.Duration) (stopped time.Duration, collections int, collecting time.Duration) {
	for range 50 {
		if m.logged() > to {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events {
		inside := min(e.end, to) - max(e.end-e.length, from)
		switch {
		case inside <= 0:
		case e.safepoint:
			stopped += inside
		default:
			collecting += inside
			if e.end <= to {
				collections++
			}
		}
	}
	return stopped, collections, collecting
}

// logged is when the last safepoint ended that is in the log.
func (m *Machine) logged() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range slices.Backward(m.events) {
		if e.safepoint {
			return e.end
		}
	}
	return 0
}
