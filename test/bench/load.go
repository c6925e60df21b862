package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kmend/kmend/diagnose/agent"
	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/process"
	"github.com/kmend/kmend/test/throttled"
)

// loads is how often everything is loaded.
const loads = 5

// load measures what an agent takes before and beside its windows: to load all
// probes, as `kmend diagnose` does each time, to attach and to read and detach, and of memory.
func (b *bench) load(ctx context.Context, out io.Writer) error {
	w, err := throttled.Start(ctx, throttled.DefaultOptions())
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }()
	var load, beside []time.Duration
	var tables int64
	for i := range loads {
		l, around, bytes, err := once(ctx, w.Path)
		if err != nil {
			return err
		}
		load, beside, tables = append(load, l), append(beside, around...), max(tables, bytes)
		b.say("load %d of %d: %.0f ms, then %.0f ms beside a window", i+1, loads, ms(l), ms(around[len(around)-1]))
	}
	recording, err := b.resident(ctx)
	if err != nil {
		return err
	}
	without, err := b.resident(ctx, "--no-recorder")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, `
## What an agent takes

The ledger and every instrument; %d agents, %d windows of 1 s each, of a throttled workload. An agent loads once;
the kernel's symbols are read during its first window.

| | median | worst |
|---|---|---|
| to load everything, before the window of the first answer | %.0f ms | %.0f ms |
| beside a window: to attach, read, detach and name | %.0f ms | %.0f ms |

| memory | MB |
|---|---|
| the probes' tables in the kernel, and what a measurement adds to the agent, at most | %.1f |
| resident, `+"`kmend-agent serve`"+` with the recorder, after %s | %.1f |
| resident, without the recorder | %.1f |
`, loads, len(beside)/loads, ms(quantile(load, 0.5)), ms(quantile(load, 1)), ms(quantile(beside, 0.5)), ms(quantile(beside, 1)),
		float64(tables)/1e6, settled, recording/1e6, without/1e6)
	return nil
}

// once makes an agent, and has it measure a few times. load is what the first answer
// waits for before its window.
func once(ctx context.Context, cgroup string) (load time.Duration, beside []time.Duration, memory int64, err error) {
	a, err := agent.New(agent.DefaultOptions())
	if err != nil {
		return 0, nil, 0, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	for range 3 {
		const window = time.Second
		began := time.Now()
		var loaded time.Duration
		m, err := a.Measure(ctx, agent.Request{Target: incident.Target{Cgroup: cgroup}, Window: window}, func(p agent.Progress) {
			if p.Stage == agent.Measuring {
				loaded = time.Since(began)
			}
		})
		if err != nil {
			return 0, nil, 0, err
		}
		beside = append(beside, time.Since(began)-loaded-window)
		if len(beside) == 1 { // the only one that loads
			load = loaded
			continue
		}
		memory = max(memory, m.Cost.MemoryBytes)
	}
	return load, beside, memory, nil
}

// settled is when an agent's memory is read.
const settled = 10 * time.Second

// resident is how much memory a served agent has, in bytes.
func (b *bench) resident(ctx context.Context, flags ...string) (float64, error) {
	addr, err := process.FreeAddr()
	if err != nil {
		return 0, err
	}
	p, err := process.Start(process.Spec{Name: "kmend-agent", Path: filepath.Join(filepath.Dir(b.binary), "kmend-agent"),
		Args: append([]string{"serve", "--listen", addr, "--insecure-loopback", "--socket", filepath.Join(b.tmp, "agent.sock")}, flags...)})
	if err != nil {
		return 0, err
	}
	b.say("load: memory of kmend-agent serve %s", strings.Join(flags, " "))
	err = pause(ctx, settled)
	if err == nil {
		err = p.Ended()
	}
	var kb float64
	if err == nil {
		kb, err = status(p.PID(), "VmRSS")
	}
	return kb * 1024, errors.Join(err, p.Stop(10*time.Second))
}

// status reads a line in kB of /proc/PID/status.
func status(pid int, name string) (kb float64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no %s", pid, name)
}
