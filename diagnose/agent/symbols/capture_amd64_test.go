package symbols

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/stack"
	"golang.org/x/sys/unix"
)

// capture stops a thread and reads what bpf/include/stack.h records of it: a witness
// without BPF, so that these tests need only the right to trace their own children.
func capture(t *testing.T, pid, tid int) stack.Stack {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s thread %d: %v", what, tid, err)
		}
	}
	must("seizing", unix.PtraceSeize(tid))
	defer func() { _ = unix.PtraceDetach(tid) }()
	must("stopping", unix.PtraceInterrupt(tid))
	var status unix.WaitStatus
	_, err := unix.Wait4(tid, &status, unix.WALL, nil)
	must("waiting for", err)
	var regs unix.PtraceRegs
	must("reading the registers of", unix.PtraceGetRegs(tid, &regs))
	s := stack.Stack{PID: pid, TID: tid, IP: regs.Rip, SP: regs.Rsp, BP: regs.Rbp, User: make([]byte, stack.MaxBytes)}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	must("reading the memory of", err)
	defer mem.Close()
	n, err := mem.ReadAt(s.User, int64(s.SP))
	if n == 0 {
		t.Fatalf("reading the stack of thread %d: %v", tid, err)
	}
	s.User = s.User[:n]
	return s
}

// waiting waits until the thread waits in a system call.
func waiting(t *testing.T, pid, tid int, call string) {
	t.Helper()
	until(t, "in system call "+call, func() bool {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/syscall", pid, tid))
		got, _, _ := strings.Cut(string(b), " ")
		return got == call
	})
}

// spinning waits until the process has burnt so much user time that it is in its loop.
func spinning(t *testing.T, pid int) {
	t.Helper()
	until(t, "spinning", func() bool {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		fields := strings.Fields(string(b))
		return len(fields) > 13 && len(fields[13]) > 1 // utime is 10 ticks or more
	})
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for range 3000 {
		if done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("in 30 s it was never %s", what)
}
