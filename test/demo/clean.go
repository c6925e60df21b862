package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/kmend/kmend/test/throttled"
)

// later has f run by clean, after everything that is registered later.
func (d *demo) later(f func() error) { d.cleanups = append(d.cleanups, f) }

// clean stops and removes what was started, last first. A second call has nothing to do.
func (d *demo) clean() error {
	var errs []error
	for _, f := range slices.Backward(d.cleanups) {
		errs = append(errs, f())
	}
	d.cleanups = nil
	return errors.Join(errs...)
}

// removeLeftovers removes cgroups of demos that were killed with SIGKILL: their
// processes died with them, the empty folders could not.
func removeLeftovers() {
	root, err := throttled.Root()
	if err != nil {
		return // Start says it better
	}
	dirs, _ := filepath.Glob(filepath.Join(root, "kmend-demo-*"))
	for _, dir := range dirs {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), "kmend-demo-"))
		if err != nil {
			continue
		}
		if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); errors.Is(err, os.ErrNotExist) {
			_ = os.Remove(dir) // the kernel refuses one that is in use
		}
	}
}

// log shows a program's log lines behind its name, if they are wanted.
func (d *demo) log(name string) io.Writer {
	if !d.verbose {
		return nil
	}
	return &prefixed{prefix: "        " + name + " | ", out: d.out}
}

type prefixed struct {
	mu     sync.Mutex
	prefix string
	out    io.Writer
}

func (p *prefixed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for line := range strings.Lines(string(b)) {
		if _, err := io.WriteString(p.out, p.prefix+strings.TrimSuffix(line, "\n")+"\n"); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}
