// Command demo shows one incident from a real alert to a verified fix, twice: as
// the dry run that is kmend's default, and with the action allowed. `make demo`
// runs it. Everything in it is real: Alertmanager, the workload, the kernel that
// throttles it, kmend as a user would run it. It believes nothing that kmend
// says of itself without asking the kernel.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/kmend/kmend/test/throttled"
)

func main() {
	throttled.RunIfAsked()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait
	d := &demo{out: os.Stdout}
	flag.StringVar(&d.binary, "kmend", "bin/kmend", "the kmend program")
	flag.StringVar(&d.dir, "out", ".demo", "where incidents.json is left")
	flag.BoolVar(&d.verbose, "v", false, "show what kmend and Alertmanager log")
	flag.Parse()
	err := d.run(ctx)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "\ndemo: interrupted; everything it started is stopped and removed")
		os.Exit(130)
	case err != nil:
		fmt.Fprintf(os.Stderr, "\ndemo: %v\n", err)
		os.Exit(1)
	}
}
