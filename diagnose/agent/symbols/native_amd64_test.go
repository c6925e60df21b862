package symbols

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kmend/kmend/bpf/stack"
	"golang.org/x/sys/unix"
)

// compile builds a program of testdata in dir; library names one of testdata to link.
func compile(t *testing.T, dir, program string, flags ...string) string {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("needs a C compiler and runs in `make test` on Debian with gcc installed")
	}
	out := filepath.Join(dir, strings.TrimSuffix(program, ".c"))
	args := append([]string{"-O2", "-fomit-frame-pointer", "-o", out, "testdata/" + program}, flags...)
	if b, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
		t.Fatalf("cc %v: %v\n%s", args, err, b)
	}
	return out
}

// started runs a program that prints "ready PID", and ends it with the test.
func started(t *testing.T, name string, args ...string) int {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var pid int
	if _, err := fmt.Fscanf(bufio.NewReader(out), "ready %d\n", &pid); err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	return pid
}

func resolve(t *testing.T, stacks ...stack.Stack) Result {
	t.Helper()
	s, err := New(DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := s.Resolve(t.Context(), stacks)
	for _, n := range r.Notes {
		t.Log("note:", n)
	}
	return r
}

// inOrder fails unless want are among the frames, in this order.
func inOrder(t *testing.T, got []Frame, want ...string) {
	t.Helper()
	i := 0
	var all []string
	for _, f := range got {
		all = append(all, f.String())
		if i < len(want) && strings.HasPrefix(f.String(), want[i]) {
			i++
		}
	}
	if i < len(want) {
		t.Errorf("no %q at its place in\n%s", want[i], strings.Join(all, "\n"))
	}
}

// A lock wait inside a library without frame pointers, from the C library's futex
// call to main and to what called it.
func TestNative(t *testing.T) {
	dir := t.TempDir()
	lib := filepath.Join(dir, "libvictim.so.1.0")
	build := func(out string, flags ...string) {
		t.Helper()
		cc, err := exec.LookPath("cc")
		if err != nil {
			t.Skip("needs a C compiler and runs in `make test` on Debian with gcc installed")
		}
		if b, err := exec.Command(cc, append(flags, "-o", out)...).CombinedOutput(); err != nil {
			t.Fatalf("cc %v: %v\n%s", flags, err, b)
		}
	}
	build(lib, "-O2", "-fomit-frame-pointer", "-shared", "-fPIC", "testdata/lib.c")
	for _, c := range []struct{ name, how string }{{"lock", "l"}, {"spin", "s"}} {
		t.Run(c.name, func(t *testing.T) {
			victim := compile(t, t.TempDir(), "victim.c", lib, "-Wl,-rpath,"+dir)
			pid := started(t, victim, c.how)
			if c.how == "l" {
				waiting(t, pid, pid, strconv.Itoa(unix.SYS_FUTEX))
			} else {
				spinning(t, pid)
			}
			s := capture(t, pid, pid)
			check := func(t *testing.T, r Result) {
				t.Helper()
				st := r.Stacks[0]
				if !st.Whole {
					t.Error("the stack is not whole")
				}
				want := []string{"deep (libvictim.so.1.0)", "deep", "deep", "deep", "deep", "lib_step (libvictim.so.1.0)",
					"serve (victim)", "main (victim)"}
				if c.how == "l" {
					want = append([]string{"pthread_mutex_lock (libc.so.6)"}, want...)
				}
				inOrder(t, st.User, want...)
				if n := len(st.User); n < len(want) || n > len(want)+6 {
					t.Errorf("%d frames", n)
				}
			}
			check(t, resolve(t, s))
			t.Run("deleted", func(t *testing.T) {
				if err := os.Remove(victim); err != nil {
					t.Fatal(err)
				}
				check(t, resolve(t, s))
			})
			t.Run("little memory", func(t *testing.T) {
				short := s
				short.User = s.User[:256]
				st := resolve(t, short).Stacks[0]
				if st.Whole || len(st.User) < 2 {
					t.Errorf("whole %v with %d frames of 256 bytes", st.Whole, len(st.User))
				}
			})
		})
	}
}

func TestStrippedLibrary(t *testing.T) {
	if _, err := exec.LookPath("strip"); err != nil {
		t.Skip("needs strip and runs in `make test` on Debian with binutils installed")
	}
	dir := t.TempDir()
	victim := compile(t, dir, "victim.c", "testdata/lib.c")
	if b, err := exec.Command("strip", victim).CombinedOutput(); err != nil {
		t.Fatalf("strip: %v\n%s", err, b)
	}
	pid := started(t, victim, "s")
	spinning(t, pid)
	st := resolve(t, capture(t, pid, pid)).Stacks[0]
	// Without names it is still walked to its end, and says which file it is in.
	if !st.Whole || len(st.User) < 8 {
		t.Errorf("whole %v, frames %v", st.Whole, st.User)
	}
	for _, f := range st.User[:8] {
		if f.Func != "" || f.Module != "victim" || f.Kind != Unknown {
			t.Errorf("frame %+v", f)
		}
	}
}

func TestJIT(t *testing.T) {
	pid := started(t, compile(t, t.TempDir(), "jit.c"))
	t.Cleanup(func() { _ = os.Remove(fmt.Sprintf("/tmp/perf-%d.map", pid)) })
	spinning(t, pid)
	s := capture(t, pid, pid)
	st := resolve(t, s).Stacks[0]
	inOrder(t, st.User, "Lcom/example/Cart;::total ([jit])", "Lcom/example/Shop;::checkout ([jit])", "run_compiled (jit)", "main (jit)")
	if slices.ContainsFunc(st.User, func(f Frame) bool { return strings.Contains(f.Func, "stale") }) {
		t.Errorf("a name that was replaced: %v", st.User)
	}
	if st.User[0].Kind != JIT || !st.Whole {
		t.Errorf("kind %s, whole %v", st.User[0].Kind, st.Whole)
	}
}
