package process

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestStopSendsTermAndWaits(t *testing.T) {
	p, err := Start(Spec{Name: "sh", Path: "/bin/sh", Args: []string{"-c", `trap 'echo bye >&2; exit 0' TERM; echo up >&2; while :; do sleep 0.05; done`}})
	if err != nil {
		t.Fatal(err)
	}
	waitForLine(t, p, "up")
	if err := p.Stop(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(p.Tail(), "bye") {
		t.Errorf("the trap did not run; tail %q", p.Tail())
	}
}

func TestStopKillsWhatIgnoresTerm(t *testing.T) {
	p, err := Start(Spec{Name: "deaf", Path: "/bin/sh", Args: []string{"-c", `trap '' TERM; echo up >&2; while :; do sleep 0.05; done`}})
	if err != nil {
		t.Fatal(err)
	}
	waitForLine(t, p, "up")
	if err := p.Stop(100 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "deaf did not stop within 100ms") {
		t.Errorf("Stop = %v", err)
	}
	if alive(p.PID()) {
		t.Errorf("pid %d still runs", p.PID())
	}
}

func TestWaitForReportsAnEarlyEnd(t *testing.T) {
	p, err := Start(Spec{Name: "short", Path: "/bin/sh", Args: []string{"-c", "echo reason >&2; exit 3"}})
	if err != nil {
		t.Fatal(err)
	}
	err = p.WaitFor(t.Context(), func(context.Context) error { return errors.New("not yet") })
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "reason") {
		t.Errorf("WaitFor = %v", err)
	}
}

// A program started by a program that is killed must not survive it.
func TestDiesWithItsParent(t *testing.T) {
	if os.Getenv("PROCESS_TEST_PARENT") != "" {
		p, err := Start(Spec{Name: "sleep", Path: "/bin/sleep", Args: []string{"60"}})
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("child " + strconv.Itoa(p.PID()) + "\n")
		select {}
	}
	parent := exec.Command(os.Args[0], "-test.run=^TestDiesWithItsParent$")
	parent.Env = append(os.Environ(), "PROCESS_TEST_PARENT=1")
	var out safeBuffer
	parent.Stdout = &out
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	child := 0
	for end := time.Now().Add(10 * time.Second); child == 0; {
		if _, rest, ok := strings.Cut(out.String(), "child "); ok && strings.HasSuffix(rest, "\n") {
			child, _ = strconv.Atoi(strings.TrimSpace(rest))
		}
		if time.Now().After(end) {
			t.Fatalf("no child after 10 s: %q", out.String())
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !alive(child) {
		t.Fatalf("child %d does not run", child)
	}
	if err := parent.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	for end := time.Now().Add(5 * time.Second); alive(child); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			_ = syscall.Kill(child, syscall.SIGKILL)
			t.Fatalf("child %d outlived its parent", child)
		}
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	tl := newTail(10)
	for i := range 100 {
		_, _ = tl.Write([]byte(strconv.Itoa(i)))
	}
	if got, want := tl.String(), "9596979899"; got != want {
		t.Errorf("tail %q, want %q", got, want)
	}
}

func waitForLine(t *testing.T, p *Process, line string) {
	t.Helper()
	err := p.WaitFor(t.Context(), func(context.Context) error {
		if strings.Contains(p.Tail(), line) {
			return nil
		}
		return errors.New("no line " + line)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// alive is false for a zombie too: nobody may have reaped it yet.
func alive(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !bytes.Contains(b, []byte(") Z "))
}

type safeBuffer struct{ tail }

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.limit = 1 << 20
	return b.tail.Write(p)
}
