package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/process"
	"github.com/kmend/kmend/test/server"
	"github.com/kmend/kmend/test/throttled"
)

// turnSeconds is how long a turn of the pipe benchmark should take without anything beside it.
const turnSeconds = 1.0

// runqlat is the question that bpftrace's own runqlat.bt asks: how long threads
// wait for a CPU.
const runqlat = `
tracepoint:sched:sched_wakeup, tracepoint:sched:sched_wakeup_new { @qtime[args->pid] = nsecs; }
tracepoint:sched:sched_switch {
  if (args->prev_state == 0) { @qtime[args->prev_pid] = nsecs; }
  $ns = @qtime[args->next_pid];
  if ($ns) { @usecs = hist((nsecs - $ns) / 1000); }
  delete(@qtime[args->next_pid]);
}`

// condition is what runs beside the pipe benchmark.
type condition struct {
	name  string
	start func(ctx context.Context) (stop func() error, err error)
	us    []float64 // per operation, one a turn
}

// probe measures the worst case for a probe of the scheduler, two threads that do
// nothing but switch, with and without it.
func (b *bench) probe(ctx context.Context, out io.Writer) error {
	pipe, err := throttled.NewCgroup("kmend-bench-pipe")
	if err != nil {
		return err
	}
	defer func() { _ = pipe.Close() }()
	idle, err := throttled.Start(ctx, throttled.DefaultOptions())
	if err != nil {
		return err
	}
	defer func() { _ = idle.Close() }()
	none := func(context.Context) (func() error, error) { return func() error { return nil }, nil }
	conditions := []*condition{
		{name: "nothing", start: none},
		{name: "kmend, measuring another cgroup", start: func(ctx context.Context) (func() error, error) { return b.diagnosing(ctx, idle.Path) }},
		{name: "kmend, measuring the benchmark itself", start: func(ctx context.Context) (func() error, error) { return b.diagnosing(ctx, pipe.Path) }},
		{name: "bpftrace, runqlat", start: bpftrace},
	}
	const few = 20_000
	us, err := turn(ctx, conditions[0], pipe, few)
	if err != nil {
		return err
	}
	loops := max(few, int(turnSeconds*1e6/us)/1000*1000)
	for round := range b.rounds {
		for i := range conditions {
			// Another order each round: what comes first is not always the same.
			c := conditions[(i+round)%len(conditions)]
			us, err := turn(ctx, c, pipe, loops)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			c.us = append(c.us, us)
			b.say("probe round %d of %d: %.2f us an operation with %s", round+1, b.rounds, us, c.name)
		}
	}
	fmt.Fprintf(out, `
## What the probe costs

`+"`perf bench sched pipe -l %d`"+`: two threads that do nothing but switch, the worst case. %d rounds in turns;
the ratio is the median of the rounds' ratios to the round without anything.
Nothing gets faster by being measured: a ratio under 1.00, or a wide span from lowest to highest, is the machine's noise and no result.

| beside it | us per operation (median) | ratio (median) | lowest | highest |
|---|---|---|---|---|
`, loops, b.rounds)
	base := conditions[0].us
	for _, c := range conditions {
		ratios := make([]float64, len(c.us))
		for i := range c.us {
			ratios[i] = c.us[i] / base[i]
		}
		fmt.Fprintf(out, "| %s | %.2f | **%.2f** | %.2f | %.2f |\n", c.name, median(c.us), median(ratios), quantile(ratios, 0.0001), quantile(ratios, 1))
	}
	return nil
}

// turn runs the pipe benchmark once and returns microseconds per operation.
func turn(ctx context.Context, c *condition, pipe *throttled.Cgroup, loops int) (float64, error) {
	stop, err := c.start(ctx)
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", `echo $$ > "$0/cgroup.procs" && exec perf bench -f simple sched pipe -l "$1"`, pipe.Path, strconv.Itoa(loops))
	text, err := cmd.Output()
	if err != nil {
		return 0, errors.Join(fmt.Errorf("perf bench: %w", err), stop())
	}
	if err := stop(); err != nil {
		return 0, err
	}
	seconds, err := perfSeconds(string(text))
	return seconds * 1e6 / float64(loops), err
}

// perfSeconds reads the output of perf bench -f simple.
func perfSeconds(text string) (float64, error) {
	s, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil {
		return 0, fmt.Errorf("reading what perf bench printed: %w", err)
	}
	return s, nil
}

// attach is more than a probe takes to be attached.
const attach = 1500 * time.Millisecond

// diagnosing has `kmend diagnose` measure for longer than a turn takes. stop
// waits for its end and checks that it measured all the time: a probe that had
// aborted itself would look cheap.
func (b *bench) diagnosing(ctx context.Context, path string) (func() error, error) {
	const length = 6 * time.Second
	type answer struct {
		text string
		err  error
	}
	done := make(chan answer, 1)
	began := time.Now()
	go func() {
		text, err := server.Run(ctx, b.binary, "diagnose", "--cgroup", path, "--window", length.String(), "-o", "json")
		done <- answer{text, err}
	}()
	if err := wait(ctx, attach); err != nil {
		return nil, err
	}
	return func() error {
		took := time.Since(began)
		a := <-done
		if a.err != nil {
			return a.err
		}
		if took > length {
			return fmt.Errorf("the turn took %s, longer than the probe measured", took)
		}
		var d incident.Diagnosis
		if err := json.Unmarshal([]byte(a.text), &d); err != nil {
			return fmt.Errorf("reading the diagnosis: %w", err)
		}
		for _, p := range d.Probes {
			if p.Status != incident.ProbeOK {
				return fmt.Errorf("probe %s was %s: %s", p.Name, p.Status, p.Reason)
			}
		}
		return nil
	}, nil
}

// bpftrace needs tracefs: where it is not mounted, it gets one of its own.
func bpftrace(ctx context.Context) (func() error, error) {
	const tracefs = `[ -d /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing; exec bpftrace -e "$0"`
	p, err := process.Start(process.Spec{Name: "bpftrace", Path: "unshare",
		Args: []string{"--mount", "--propagation", "private", "/bin/sh", "-c", tracefs, runqlat}})
	if err != nil {
		return nil, err
	}
	ready, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("not attached after 30 s"))
	defer cancel()
	err = p.WaitFor(ready, func(context.Context) error {
		if !strings.Contains(p.Tail(), "Attaching") {
			return errors.New("it does not say that it attaches")
		}
		return nil
	})
	if err == nil {
		err = wait(ctx, attach)
	}
	if err == nil {
		err = p.Ended()
	}
	if err != nil {
		return nil, errors.Join(err, p.Kill())
	}
	return func() error {
		if err := p.Ended(); err != nil {
			return err
		}
		return p.Stop(10 * time.Second)
	}, nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
