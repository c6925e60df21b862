package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

func main() {
	if spec := os.Getenv(placeEnv); spec != "" {
		fmt.Fprintln(os.Stderr, "lab:", enter(spec, os.Args))
		os.Exit(127)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	code, err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
	}
	os.Exit(code)
}

type options struct {
	list                    bool
	pattern, output         string
	prepare, victims, kmend string
	agent                   string
	keep                    string
	patience                time.Duration
	attempts                int
}

// run returns the status: 0 right, 1 wrong or an error, 2 bad usage.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (int, error) {
	var o options
	fs := flag.NewFlagSet("lab", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.BoolVar(&o.list, "list", false, "list the cases and what must be found")
	fs.StringVar(&o.pattern, "r", "", "only cases whose name or cause matches this regular expression")
	fs.StringVar(&o.output, "o", "text", "text, or json: the cases on standard output, progress and matrix on standard error")
	fs.StringVar(&o.prepare, "prepare", "", "build the victims into this folder, and do nothing else")
	fs.StringVar(&o.victims, "victims", "", "use the victims in this folder; without it they are built")
	fs.StringVar(&o.kmend, "kmend", "bin/kmend", "the program asked")
	fs.StringVar(&o.agent, "agent", "", "start this kmend-agent and have kmend ask it, which has loaded its probes; without it kmend loads and measures itself")
	fs.StringVar(&o.keep, "keep", "", "write kmend's whole answers and every case into this folder")
	fs.DurationVar(&o.patience, "patience", 5*time.Second, "wait so long before a case for a quiet machine, and ten times as long before one is done again")
	fs.IntVar(&o.attempts, "attempts", 3, "measure a case so often at most, when strangers held CPUs or the hypervisor took them")
	if err := fs.Parse(args); err != nil {
		return 2, nil //nolint:nilerr // it has said why
	}
	if o.output != "text" && o.output != "json" || fs.NArg() > 0 {
		fs.Usage()
		return 2, fmt.Errorf("-o is %q, arguments are %q; -o is text or json and there are no arguments", o.output, fs.Args())
	}
	if o.prepare != "" {
		return status(prepare(ctx, o.prepare, stderr))
	}
	trials, err := choose(allTrials(), o.pattern)
	if err != nil {
		return 2, err
	}
	if o.list {
		for _, t := range trials {
			fmt.Fprintf(stdout, "%-34s %s\n", t.name, t.answer())
		}
		fmt.Fprintf(stdout, "%d cases\n", len(trials))
		return 0, nil
	}
	log := stdout
	if o.output == "json" {
		log = stderr
	}
	a, err := all(ctx, o, trials, log)
	if err != nil {
		return 1, err
	}
	if o.output == "json" {
		enc := json.NewEncoder(stdout)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(a); err != nil {
			return 1, err
		}
	}
	if len(a.Failed) > 0 {
		return 1, nil
	}
	return 0, nil
}

func status(err error) (int, error) {
	if err != nil {
		return 1, err
	}
	return 0, nil
}

// all runs the cases and prints how they end as they do.
func all(ctx context.Context, o options, trials []trial, log io.Writer) (a account, err error) {
	if os.Geteuid() != 0 {
		return a, errors.New("the lab makes cgroups, namespaces and loop devices: run it as root")
	}
	l := &lab{root: fmt.Sprintf("svc%d", os.Getpid()), log: log, keep: o.keep, patience: o.patience, attempts: o.attempts}
	if l.tools.kmend, err = filepath.Abs(o.kmend); err != nil {
		return a, err
	}
	if _, err := os.Stat(l.tools.kmend); err != nil {
		return a, fmt.Errorf("no kmend to ask: make build: %w", err)
	}
	if l.dir, err = os.MkdirTemp("", "svc"); err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(l.dir)) }()
	if err := os.Chmod(l.dir, 0o755); err != nil {
		return a, err
	}
	l.tools.victims, err = filepath.Abs(o.victims)
	if o.victims == "" {
		l.tools.victims = filepath.Join(l.dir, "v")
		fmt.Fprintln(log, "building the victims")
		err = prepare(ctx, l.tools.victims, log)
	}
	if err != nil {
		return a, err
	}
	if o.keep != "" {
		if err := os.MkdirAll(o.keep, 0o755); err != nil {
			return a, err
		}
	}
	if l.h, err = findHierarchy(); err != nil {
		return a, err
	}
	if err := l.h.make(l.root); err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, l.h.remove(l.root)) }()
	// Other work on the machine must not make or hide a fault. More than this
	// starves the kernel's own threads.
	if err := setWeight(l.h, filepath.Join(l.h.dirs["cpu"], l.root), 20); err != nil {
		return a, err
	}
	if o.agent != "" {
		b := &bed{ctx: ctx, h: l.h, root: l.root, dir: l.dir, tools: l.tools}
		defer func() { err = errors.Join(err, b.close()) }()
		if l.tools.socket, err = b.serve(o.agent); err != nil {
			return a, err
		}
	}
	a = account{
		Date: time.Now().UTC().Format(time.DateOnly), Kernel: kernel(), Cgroup: "v1", CPUs: runtime.NumCPU(), Machine: machine(), Kmend: o.kmend,
	}
	if l.h.v2 {
		a.Cgroup = "v2"
	}
	fmt.Fprintf(log, "%d cases on %s, cgroup %s, %d CPUs, %s\n", len(trials), a.Kernel, a.Cgroup, a.CPUs, a.Machine)
	started := time.Now()
	for _, t := range trials {
		r := l.run(ctx, t)
		if ctx.Err() != nil {
			return a, fmt.Errorf("interrupted in %s", t.name)
		}
		fmt.Fprintln(log, r.line())
		a.Cases = append(a.Cases, r)
	}
	a.Totals = count(a.Cases)
	a.Failed = a.Totals.failures()
	if o.keep != "" {
		if err := a.keep(o.keep); err != nil {
			return a, err
		}
	}
	fmt.Fprintln(log)
	tabulate(a.Cases).print(log)
	n := a.Totals
	fmt.Fprintf(log, "\n%d of %d faults right, %d false alarms about %d healthy controls (%d not clean), %d skipped, worst ledger %.2f%%, %.0f s\n",
		n.Right, n.Faulty, n.FalseAlarms, n.Healthy, n.NotClean, n.Skipped, 100*n.WorstLedger, time.Since(started).Seconds())
	for _, f := range a.Failed {
		fmt.Fprintln(log, "FAILED:", f)
	}
	return a, nil
}
