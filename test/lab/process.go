package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// proc is a process that the bed started.
type proc struct {
	pid   int
	meter string // file of the victim's own counter
	tail  *tail
}

// spawn says how a process is started besides its arguments.
type spawn struct {
	netns string
	uid   int
	gid   int
	cpus  []int
	env   []string
	dir   string
	// ready: start returns when the process has printed "ready" (the victims do).
	ready bool
}

// start runs a program in the group until the case ends. args[0] is a path.
func (g *group) start(how spawn, args ...string) *proc {
	b := g.b
	spec, err := json.Marshal(place{Cgroups: g.dirs(), Netns: how.netns, UID: how.uid, GID: how.gid, CPUs: how.cpus})
	b.check(err)
	p := &proc{meter: b.file(), tail: &tail{}}
	b.check(os.WriteFile(p.meter, make([]byte, 8), 0o666))
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args = args // the launcher has the name of what it becomes
	cmd.Dir = how.dir
	cmd.Env = append(append(os.Environ(), placeEnv+"="+string(spec), "METER="+p.meter), how.env...)
	cmd.Stderr = p.tail
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.WaitDelay = time.Second
	out, w, err := os.Pipe()
	b.check(err)
	cmd.Stdout = w
	ended := make(chan struct{})
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the kernel's death signal is for the end of the thread that started it
		err := cmd.Start()
		w.Close()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		b.check(fmt.Errorf("starting %s: %w", args[0], err))
	}
	p.pid = cmd.Process.Pid
	b.later(func() error {
		_ = unix.Kill(p.pid, unix.SIGKILL)
		<-ended
		out.Close()
		return nil
	})
	said := make(chan struct{})
	go func() {
		r := bufio.NewScanner(io.TeeReader(out, p.tail))
		for r.Scan() {
			if r.Text() == "ready" {
				close(said)
				break
			}
		}
		_, _ = io.Copy(io.Discard, out)
	}()
	if how.ready {
		select {
		case <-said:
		case <-ended:
			b.check(fmt.Errorf("%s ended at once: %s", filepath.Base(args[0]), p.tail))
		case <-time.After(90 * time.Second):
			b.check(fmt.Errorf("%s was not ready after 90 s: %s", filepath.Base(args[0]), p.tail))
		case <-b.ctx.Done():
			b.check(b.ctx.Err())
		}
	}
	return p
}

// once runs a program in the group to its end and returns what it printed.
func (g *group) once(how spawn, args ...string) (string, error) {
	spec, err := json.Marshal(place{Cgroups: g.dirs(), Netns: how.netns, UID: how.uid, GID: how.gid, CPUs: how.cpus})
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(g.b.ctx, "/proc/self/exe", args...)
	cmd.Args, cmd.Dir = args, how.dir
	cmd.Env = append(append(os.Environ(), placeEnv+"="+string(spec)), how.env...)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return "", fmt.Errorf("running %s: %w", strings.Join(args, " "), err)
	}
	return string(out), nil
}

// command runs a tool of the machine (ip, iptables, losetup, ...) outside all groups.
func (b *bed) command(args ...string) (string, error) {
	out, err := exec.CommandContext(b.ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return strings.TrimSpace(string(out)), nil
}

// tail keeps the last 2 kB of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if n := len(t.b) - 2048; n > 0 {
		t.b = t.b[n:]
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}
