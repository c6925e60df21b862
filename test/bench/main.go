// Command bench measures what kmend promises and writes docs/benchmarks.md:
// how long it takes from an alert to a confirmed cause, what the probes cost, how
// long they take to load, and how fast notifications are taken in durably. `make bench` runs it, as root.
//
// Each figure comes with what it is compared with, measured in turns in the same
// run: alone, a number says more about the machine than about kmend.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/kmend/kmend/test/throttled"
)

// bench is one run.
type bench struct {
	binary string // kmend
	tmp    string
	runs   int
	rounds int
	only   string
	log    io.Writer // progress
}

func main() {
	throttled.RunIfAsked()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	b := &bench{log: os.Stderr}
	out := flag.String("out", "docs/benchmarks.md", "the file to write")
	flag.StringVar(&b.binary, "kmend", "bin/kmend", "the kmend program")
	flag.IntVar(&b.runs, "runs", 25, "incidents to diagnose")
	flag.IntVar(&b.rounds, "rounds", 7, "turns of what is compared")
	flag.StringVar(&b.only, "only", "", "one of latency, load, probe, recorder, ingest; its figures are printed and no file is written")
	flag.Parse()
	if err := run(ctx, b, *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, b *bench, out string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("it needs root, because it loads eBPF programs and makes cgroups")
	}
	var err error
	if b.binary, err = filepath.Abs(b.binary); err != nil {
		return fmt.Errorf("looking for kmend: %w", err)
	}
	if b.tmp, err = os.MkdirTemp("", "kmend-bench-"); err != nil {
		return fmt.Errorf("making a folder for the data: %w", err)
	}
	defer os.RemoveAll(b.tmp)

	var doc bytes.Buffer
	if err := b.header(ctx, &doc); err != nil {
		return err
	}
	for _, part := range []struct {
		name    string
		measure func(context.Context, io.Writer) error
	}{{"latency", b.latency}, {"load", b.load}, {"probe", b.probe}, {"recorder", b.recorder}, {"ingest", b.ingest}} {
		if b.only != "" && b.only != part.name {
			continue
		}
		if err := part.measure(ctx, &doc); err != nil {
			return fmt.Errorf("measuring %s: %w", part.name, err)
		}
	}
	if _, err := os.Stdout.Write(doc.Bytes()); err != nil || b.only != "" {
		return err
	}
	if err := os.WriteFile(out, doc.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// say reports progress.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.log, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// folder makes a folder below tmp.
func (b *bench) folder(name string) (string, error) {
	dir := filepath.Join(b.tmp, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("making a folder for the data: %w", err)
	}
	return dir, nil
}
