package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/kmend/kmend/test/process"
	"github.com/kmend/kmend/test/throttled"
)

// turnSeconds is how long a turn of a work should take without anything beside it.
const turnSeconds = 1.0

// work is what is measured: something that a probe may slow down.
type work struct {
	name  string
	what  string // for people
	group *throttled.Cgroup
	few   int // operations that take a moment
	// run does so many operations in the group and returns microseconds per operation.
	run  func(ctx context.Context, group *throttled.Cgroup, operations int) (float64, error)
	stop func() error
}

// works starts them. Their groups are what kmend is asked about.
func (b *bench) works(ctx context.Context) (all []*work, stop func() error, err error) {
	stop = func() error {
		var errs []error
		for _, w := range all {
			errs = append(errs, w.stop(), w.group.Close())
		}
		return errors.Join(errs...)
	}
	idle := func() error { return nil }
	all = []*work{
		{name: "pipe", what: "`perf bench sched pipe`: two threads that do nothing but switch, the worst case", few: 20_000, run: pipe, stop: idle},
		{name: "redis", what: "a Redis under `redis-benchmark -t get -c 8`", few: 5_000, stop: idle},
		{name: "fsync", what: "`dd oflag=dsync`: one block after the other, each on the disk before the next", few: 100, run: b.fsync, stop: idle},
	}
	for i, w := range all {
		if w.group, err = throttled.NewCgroup("kmend-bench-" + w.name); err != nil {
			all = all[:i]
			return all, stop, err
		}
	}
	all[1].run, all[1].stop, err = redis(ctx, all[1].group)
	if err != nil {
		all[1].stop = idle
	}
	return all, stop, err
}

// inGroup is a program that runs in a cgroup from its beginning.
func inGroup(ctx context.Context, group *throttled.Cgroup, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", `echo $$ > "$0/cgroup.procs" && exec "$@"`, group.Path}, args...)...)
	cmd.Env = append(cmd.Environ(), "LC_ALL=C")
	return cmd
}

func pipe(ctx context.Context, group *throttled.Cgroup, operations int) (float64, error) {
	text, err := inGroup(ctx, group, "perf", "bench", "-f", "simple", "sched", "pipe", "-l", strconv.Itoa(operations)).Output()
	if err != nil {
		return 0, fmt.Errorf("perf bench: %w", err)
	}
	s, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	if err != nil {
		return 0, fmt.Errorf("reading what perf bench printed: %w", err)
	}
	return s * 1e6 / float64(operations), nil
}

var copied = regexp.MustCompile(`copied, ([0-9.e+-]+) s`)

func (b *bench) fsync(ctx context.Context, group *throttled.Cgroup, operations int) (float64, error) {
	text, err := inGroup(ctx, group, "dd", "if=/dev/zero", "of="+filepath.Join(b.tmp, "fsync"), "bs=4k", "oflag=dsync", "conv=notrunc",
		"count="+strconv.Itoa(operations)).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("dd: %w: %s", err, text)
	}
	m := copied.FindSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("dd printed %q, which does not say how long it took", text)
	}
	s, err := strconv.ParseFloat(string(m[1]), 64)
	return s * 1e6 / float64(operations), err
}

// redis starts a Redis in the group. Its clients are outside of it.
func redis(ctx context.Context, group *throttled.Cgroup) (run func(context.Context, *throttled.Cgroup, int) (float64, error), stop func() error, err error) {
	out, err := exec.CommandContext(ctx, "test/setup/debs", "redis-tools").Output()
	if err != nil {
		return nil, nil, fmt.Errorf("fetching redis-tools: %w", err)
	}
	folder := strings.TrimSpace(string(out))
	folders, err := filepath.Glob(filepath.Join(folder, "usr/lib/*-linux-gnu"))
	if err != nil {
		return nil, nil, err
	}
	libraries := "LD_LIBRARY_PATH=" + strings.Join(folders, ":")
	addr, err := process.FreeAddr()
	if err != nil {
		return nil, nil, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, nil, err
	}
	// As Debian's redis-server does it: the name says what the program is.
	server := inGroup(ctx, group, "env", libraries, "bash", "-c", `exec -a redis-server "$0" "$@"`, filepath.Join(folder, "usr/bin/redis-check-rdb"),
		"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
	p, err := process.Start(process.Spec{Name: "redis-server", Path: server.Path, Args: server.Args[1:]})
	if err != nil {
		return nil, nil, err
	}
	stop = func() error { return p.Stop(5 * time.Second) }
	ready, cancel := context.WithTimeoutCause(ctx, 15*time.Second, errors.New("it does not answer after 15 s"))
	defer cancel()
	err = p.WaitFor(ready, func(ctx context.Context) error {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			err = c.Close()
		}
		return err
	})
	if err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return func(ctx context.Context, _ *throttled.Cgroup, operations int) (float64, error) {
		cmd := exec.CommandContext(ctx, filepath.Join(folder, "usr/bin/redis-benchmark"), "-p", port, "-t", "get", "-c", "8", "-n", strconv.Itoa(operations), "--csv")
		cmd.Env = append(cmd.Environ(), libraries)
		text, err := cmd.Output()
		if err != nil {
			return 0, fmt.Errorf("redis-benchmark: %w", err)
		}
		return redisMicroseconds(string(text))
	}, stop, nil
}

var perSecond = regexp.MustCompile(`"GET","([0-9.]+)"`)

// redisMicroseconds reads the table of redis-benchmark --csv.
func redisMicroseconds(text string) (float64, error) {
	m := perSecond.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("redis-benchmark printed %q, which has no rate of GET", text)
	}
	rate, err := strconv.ParseFloat(m[1], 64)
	if err != nil || rate <= 0 {
		return 0, fmt.Errorf("redis-benchmark says %q requests a second", m[1])
	}
	return 1e6 / rate, nil
}
