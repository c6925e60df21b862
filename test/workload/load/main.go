package load

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

// Main is the program: flags in args, exit status out. SIGTERM and SIGINT end
// the load as its duration would.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if os.Getenv(ExitEnv) != "" {
		return 0
	}
	o, err := parse(args, stderr)
	if err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := Run(ctx, o, stdout); err != nil {
		fmt.Fprintln(stderr, "workload:", err)
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (Options, error) {
	o := DefaultOptions()
	fs := flag.NewFlagSet("workload", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.Mode, "mode", o.Mode, "what the threads do: "+strings.Join(Modes(), ", "))
	fs.IntVar(&o.Threads, "threads", o.Threads, "number of threads")
	fs.DurationVar(&o.On, "on", o.On, "bursty: time busy")
	fs.DurationVar(&o.Off, "off", o.Off, "bursty, fsync, hog: time asleep")
	fs.DurationVar(&o.Duration, "duration", o.Duration, "end after this long; 0: at SIGTERM")
	fs.StringVar(&o.Dir, "dir", o.Dir, "io, fsync, mapped: use the file system of this directory")
	fs.IntVar(&o.MB, "mb", o.MB, "hog, mapped: how many MB, all threads together")
	fs.StringVar(&o.Addr, "addr", o.Addr, "ask, answer: HOST:PORT to connect to, or to listen on")
	fs.DurationVar(&o.Delay, "delay", o.Delay, "answer: how long it takes; 1h is never")
	fs.Float64Var(&o.Loss, "loss", o.Loss, "ask, answer: the part of the segments that come in and are dropped, 0 to 1")
	fs.Func("cgroup", "move into this cgroup directory first; may be repeated", func(dir string) error {
		o.Cgroups = append(o.Cgroups, dir)
		return nil
	})
	fs.Func("cpus", "pin to these CPUs, such as 0,1", func(list string) error {
		for c := range strings.SplitSeq(list, ",") {
			n, err := strconv.Atoi(c)
			if err != nil {
				return fmt.Errorf("%q is not a CPU number", c)
			}
			o.CPUs = append(o.CPUs, n)
		}
		return nil
	})
	err := fs.Parse(args)
	if err == nil && fs.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", fs.Arg(0))
		fmt.Fprintln(stderr, "workload:", err)
	}
	return o, err
}
