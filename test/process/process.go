// Package process runs the real programs that the tests, the demo and the
// benchmarks need: each dies with the program that started it, is stopped by
// its own pid, and keeps the end of what it printed for the error message.
//
// It is not part of kmend; test/alertmanager and test/server build on it.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Spec says what to run.
type Spec struct {
	Name string // for messages
	Path string // program
	Args []string
	Env  []string // nil: this process's own
	Dir  string
	// Stdin is handed to the program as its standard input; nil is /dev/null.
	Stdin io.Reader
	// Stdout gets the standard output; nil sends it where the standard error goes.
	Stdout io.Writer
	// Log gets the standard error as it comes, besides the tail that is kept; nil for none.
	Log io.Writer
}

// Process is a running program.
type Process struct {
	name string
	cmd  *exec.Cmd
	tail *tail
	done chan struct{}
	err  error // of Wait; read after done is closed
}

// Start runs spec in a process group of its own (a Ctrl-C on the terminal does
// not reach it: whoever started it stops it), and has the kernel kill it when
// this program dies in whatever way.
func Start(spec Spec) (*Process, error) {
	p := &Process{name: spec.Name, tail: newTail(64 << 10), done: make(chan struct{})}
	p.cmd = exec.Command(spec.Path, spec.Args...)
	p.cmd.Env, p.cmd.Dir, p.cmd.Stdin = spec.Env, spec.Dir, spec.Stdin
	p.cmd.Stderr = io.Writer(p.tail)
	if spec.Log != nil {
		p.cmd.Stderr = io.MultiWriter(p.tail, spec.Log)
	}
	p.cmd.Stdout = p.cmd.Stderr
	if spec.Stdout != nil {
		p.cmd.Stdout = spec.Stdout
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	p.cmd.WaitDelay = time.Second
	started := make(chan error)
	go func() {
		// The kernel sends Pdeathsig when the starting *thread* ends, so that
		// thread has to stay for as long as the program runs.
		runtime.LockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", spec.Name, err)
	}
	return p, nil
}

// PID of the program.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Tail is the last of what the program printed (up to 64 KiB).
func (p *Process) Tail() string { return p.tail.String() }

// Ended says why the program ended, with the last lines it printed; nil while it runs.
func (p *Process) Ended() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended (%s); its last lines:\n%s", p.name, p.cmd.ProcessState, lastLines(p.Tail(), 12))
	default:
		return nil
	}
}

// Signal sends sig; a program that has ended is no error.
func (p *Process) Signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && p.Ended() == nil {
		return fmt.Errorf("sending %s to %s: %w", sig, p.name, err)
	}
	return nil
}

// Kill ends the program with SIGKILL and waits until it is gone.
func (p *Process) Kill() error {
	err := p.Signal(syscall.SIGKILL)
	<-p.done
	return err
}

// Stop sends SIGTERM and waits; a program that is still there after grace is
// killed, and that is an error.
func (p *Process) Stop(grace time.Duration) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(grace):
		return errors.Join(fmt.Errorf("%s did not stop within %s of SIGTERM and was killed; its last lines:\n%s",
			p.name, grace, lastLines(p.Tail(), 12)), p.Kill())
	}
}

// WaitFor calls ready every 20 ms until it returns nil. It gives up when the
// program ends or ctx does, and says what ready said last.
func (p *Process) WaitFor(ctx context.Context, ready func(context.Context) error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return p.Ended()
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w (%w); its last lines:\n%s", p.name, context.Cause(ctx), err, lastLines(p.Tail(), 12))
		case <-tick.C:
		}
	}
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
