package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/server"
	"golang.org/x/sys/unix"
)

// condition is what runs beside a work.
type condition struct {
	name  string
	start func(ctx context.Context) (stop func() error, err error)
	turns []turn
}

// turn is what a work took once, in microseconds per operation.
type turn struct {
	us       float64
	programs float64 // that all BPF programs of the machine ran meanwhile
}

func (c *condition) values(of func(turn) float64) []float64 {
	out := make([]float64, len(c.turns))
	for i, t := range c.turns {
		out[i] = of(t)
	}
	return out
}

// probe measures what kmend costs that asks everything at once, against what
// bpftrace costs for each question alone.
func (b *bench) probe(ctx context.Context, out io.Writer) (err error) {
	works, stop, err := b.works(ctx)
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, `
## What a window costs

Beside each work, in turns in one run: nothing, kmend with every probe on the work's own cgroup, and one script of bpftrace for one
question. %d rounds; a ratio is the median of the rounds' ratios to the round without anything. Nothing gets faster by being
measured: a ratio under 1.00, or a wide span from lowest to highest, is the machine's noise and no result. "In programs" is what the
machine's BPF programs ran meanwhile by the kernel's own account (kernel.bpf_stats_enabled, whose counting slows every program by the
same), less what they ran beside nothing: it does not have what the tracepoints cost around them, and hardly any noise.
`, b.rounds)
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return fmt.Errorf("switching bpf_stats on: %w", err)
	}
	defer func() { err = errors.Join(err, stats.Close()) }()
	for _, w := range works {
		conditions, err := b.turns(ctx, w)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		table(out, w, conditions)
	}
	return nil
}

// turns runs a work beside each condition, round after round.
func (b *bench) turns(ctx context.Context, w *work) ([]*condition, error) {
	conditions := []*condition{
		{name: "nothing", start: func(context.Context) (func() error, error) { return func() error { return nil }, nil }},
		{name: "**kmend, every question**", start: func(ctx context.Context) (func() error, error) { return b.diagnosing(ctx, w.group.Path) }},
	}
	for _, q := range questions {
		conditions = append(conditions, &condition{
			name:  fmt.Sprintf("bpftrace, %s: %s", q.name, q.asks),
			start: func(ctx context.Context) (func() error, error) { return bpftrace(ctx, q.script) },
		})
	}
	us, err := w.run(ctx, w.group, w.few)
	if err != nil {
		return nil, err
	}
	operations := max(w.few, int(turnSeconds*1e6/us))
	for round := range b.rounds {
		for i := range conditions {
			// Another order each round: what comes first is not always the same.
			c := conditions[(i+round)%len(conditions)]
			t, err := w.turn(ctx, c, operations)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			c.turns = append(c.turns, t)
			b.say("%s round %d of %d: %.2f us an operation, %.2f in programs, with %s", w.name, round+1, b.rounds, t.us, t.programs, c.name)
		}
	}
	return conditions, nil
}

func table(out io.Writer, w *work, conditions []*condition) {
	fmt.Fprintf(out, `
### %s

| beside it | us per operation (median) | ratio (median) | lowest | highest | in programs, us per operation (median) |
|---|---|---|---|---|---|
`, w.what)
	took, inside := func(t turn) float64 { return t.us }, func(t turn) float64 { return t.programs }
	base := conditions[0].values(took)
	without := median(conditions[0].values(inside))
	for _, c := range conditions {
		us := c.values(took)
		ratios := make([]float64, len(us))
		for i := range us {
			ratios[i] = us[i] / base[i]
		}
		fmt.Fprintf(out, "| %s | %.2f | **%.2f** | %.2f | %.2f | %.2f |\n", c.name, median(us), median(ratios), quantile(ratios, 0.0001), quantile(ratios, 1),
			median(c.values(inside))-without)
	}
}

// turn does the work once.
func (w *work) turn(ctx context.Context, c *condition, operations int) (t turn, err error) {
	stop, err := c.start(ctx)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	before, err := programs()
	if err != nil {
		return t, err
	}
	if t.us, err = w.run(ctx, w.group, operations); err != nil {
		return t, err
	}
	after, err := programs()
	for id, ran := range after {
		if was, ok := before[id]; ok {
			t.programs += float64(ran-was) / 1e3 / float64(operations)
		}
	}
	return t, err
}

// programs is how long each of the machine's BPF programs has run while it was counted.
func programs() (ran map[ebpf.ProgramID]time.Duration, err error) {
	ran = map[ebpf.ProgramID]time.Duration{}
	for id := ebpf.ProgramID(0); ; {
		id, err = ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return ran, nil
		}
		if err != nil {
			return nil, fmt.Errorf("listing BPF programs: %w", err)
		}
		p, err := ebpf.NewProgramFromID(id)
		if errors.Is(err, os.ErrNotExist) { // it has gone since
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("opening BPF program %d: %w", id, err)
		}
		s, err := p.Stats()
		if err := errors.Join(err, p.Close()); err != nil {
			return nil, fmt.Errorf("reading about BPF program %d: %w", id, err)
		}
		ran[id] = s.Runtime
	}
}

// attach is more than a probe takes to be attached.
const attach = 1500 * time.Millisecond

// diagnosing has `kmend diagnose` measure for longer than a turn takes. stop
// waits for its end and checks that it measured all the time: a probe that had
// aborted itself would look cheap.
func (b *bench) diagnosing(ctx context.Context, path string) (func() error, error) {
	const length = 7 * time.Second
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
	if err := pause(ctx, attach); err != nil {
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
