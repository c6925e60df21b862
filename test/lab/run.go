package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// lab runs cases one after the other.
type lab struct {
	h     hierarchy
	root  string // group of everything
	dir   string // folder of everything
	tools tools
	log   io.Writer
	keep  string // folder for kmend's whole answers; empty: not kept
	// patience is how long to wait before a case for strangers to leave the
	// machine alone; before a case is done again, ten times as long.
	patience time.Duration
	attempts int // of a case that strangers may have decided, or whose fault was not made
}

// quiet waits until the machine is idle but for next to nothing (nothing of the
// lab runs between two cases), at most for so long.
func quiet(ctx context.Context, atMost time.Duration) {
	for end := time.Now().Add(atMost); time.Now().Before(end) && ctx.Err() == nil; {
		idle := idleCPUs(ctx, 300*time.Millisecond)
		if float64(runtime.NumCPU())-idle < noisyCPUs {
			return
		}
	}
}

// idleCPUs is how many CPUs were idle, on average over d.
func idleCPUs(ctx context.Context, d time.Duration) float64 {
	read := func() (all, idle float64) {
		f := cpuTimes()
		for i, v := range f {
			all += v
			if i == 3 || i == 4 { // idle and iowait
				idle += v
			}
		}
		return all, idle
	}
	all0, idle0 := read()
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
	all, idle := read()
	if all <= all0 {
		return 0
	}
	return (idle - idle0) / (all - all0) * float64(runtime.NumCPU())
}

// run does one case, again when strangers may have decided it or there was no fault.
func (l *lab) run(ctx context.Context, t trial) result {
	r := result{Name: t.name, Expected: t.expect, Or: t.or, With: t.with}
	for n := 1; ; n++ {
		waited := time.Now()
		quiet(ctx, l.patience*time.Duration(1+9*min(n-1, 1)))
		gone := time.Since(waited)
		a, err := l.attempt(ctx, t, &r)
		var skip missing
		switch {
		case errors.As(err, &skip):
			r.Skipped = err.Error()
			return r
		case err != nil:
			r.Found, r.Verdict, a.Wrong = "error", "error", err.Error()
			a.Found = r.Found
		}
		r.Wrong, a.Waited = a.Wrong, gone.Seconds()
		noisy := a.Strangers >= noisyCPUs || a.Stolen >= noisySteal
		if a.Wrong != "" && (noisy || a.unmade) && n < l.attempts && ctx.Err() == nil {
			a.Again = fmt.Sprintf("strangers held %.1f CPUs, %.0f%% were stolen", a.Strangers, 100*a.Stolen)
			if a.unmade {
				a.Again = a.Wrong
			}
			r.Attempts = append(r.Attempts, a)
			continue
		}
		r.Attempts = append(r.Attempts, a)
		return r
	}
}

// attempt makes the fault, asks kmend about it, and takes the fault away.
func (l *lab) attempt(ctx context.Context, t trial, r *result) (a attempt, err error) {
	dir, err := os.MkdirTemp(l.dir, "")
	if err != nil {
		return a, err
	}
	if err := os.Chmod(dir, 0o777); err != nil { // a database's own user works in it
		return a, err
	}
	b := &bed{ctx: ctx, h: l.h, root: l.root, dir: dir, tools: l.tools}
	defer func() {
		if r, ok := recover().(stopped); ok {
			err = r.err
		}
		err = errors.Join(err, b.close(), os.RemoveAll(dir))
	}()
	tool := b.group("t").weight(10) // whoever measures must not starve
	f := t.make(b)
	if f.settle == 0 {
		f.settle = 500 * time.Millisecond
	}
	b.wait(f.settle)
	before := readAll(b, f.proof)
	all0, stolen0 := jiffies()
	started := time.Now()
	d, raw, err := b.diagnose(ctx, tool, f, t.window)
	r.Seconds = time.Since(started).Seconds()
	all, stolen := jiffies()
	if all > all0 {
		a.Stolen = (stolen - stolen0) / (all - all0)
	}
	if err != nil {
		return a, err
	}
	if l.keep != "" {
		b.check(os.WriteFile(filepath.Join(l.keep, fileName(t.name)+".json"), raw, 0o644))
	}
	after := readAll(b, f.proof)
	a.Strangers, a.Found, a.Wrong = d.strangers(l.root), d.found(), t.judge(d)
	r.fill(d)
	r.Proof = nil
	for i, m := range f.proof {
		p := proof{What: m.what, Value: after[i] - before[i], Least: m.least}
		if m.level {
			p.Value = math.Min(before[i], after[i])
		}
		r.Proof = append(r.Proof, p)
		if p.Value < p.Least {
			a.unmade = true
			a.Wrong = fmt.Sprintf("the fault was not made: %s is %.1f, less than %.1f", p.What, p.Value, p.Least)
		}
	}
	return a, nil
}

func readAll(b *bed, meters []meter) []float64 {
	out := make([]float64, len(meters))
	for i, m := range meters {
		v, err := m.read()
		if err != nil {
			b.check(fmt.Errorf("reading the witness %q: %w", m.what, err))
		}
		out[i] = v
	}
	return out
}

func (r *result) fill(d diagnosis) {
	r.Found, r.Verdict, r.Findings = d.found(), d.Verdict, d.Findings
	r.States, r.Threads, r.LedgerOff = d.Ledger.States, d.Ledger.Threads, d.off()
	r.AgentCPUMS = d.Cost.CPUMS
	r.Troubles = nil
	for _, p := range d.Probes {
		if p.Status != "ok" || p.Lost > 0 {
			r.Troubles = append(r.Troubles, p)
		}
	}
}

func fileName(name string) string {
	out := []rune(strings.ToLower(name))
	for i, c := range out {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' {
			out[i] = '-'
		}
	}
	return string(out)
}

// line is one case for people.
func (r result) line() string {
	switch {
	case r.Skipped != "":
		return fmt.Sprintf("skip  %-34s %s", r.Name, r.Skipped)
	case r.Wrong != "":
		return fmt.Sprintf("WRONG %-34s %-14s ledger %.2f%% %5.1f s x%d: %s", r.Name, r.Found, 100*r.LedgerOff, r.Seconds, len(r.Attempts), r.Wrong)
	}
	share := ""
	if len(r.Findings) > 0 {
		share = fmt.Sprintf("%3.0f%%", 100*r.Findings[0].Share)
	}
	return fmt.Sprintf("ok    %-34s %-14s %s ledger %.2f%% %5.1f s x%d", r.Name, r.Found, share, 100*r.LedgerOff, r.Seconds, len(r.Attempts))
}
