// Command kmend-agent is the node daemon: it answers requests to measure a
// target on its node (package diagnose/agent) and does nothing else. It is
// privileged, so it is small: the probe, the agent and a server.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit statuses, those of kmend.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

type cli struct {
	Serve        serveCmd        `cmd:"" help:"Answer requests to measure targets on this node."`
	Capabilities capabilitiesCmd `cmd:"" help:"Say what this node can measure, or why it cannot."`
	Version      versionCmd      `cmd:"" help:"Print the version."`
}

// output is where a command writes: results to Stdout, logs to Stderr.
type output struct{ Stdout, Stderr io.Writer }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer context.AfterFunc(ctx, stop)() // a second signal kills
	os.Exit(run(ctx, os.Args[1:], &output{os.Stdout, os.Stderr}))
}

// exited carries the status of a flag that ends the program, --help, out of kong.
type exited int

// run parses args, runs the command and returns the exit status.
func run(ctx context.Context, args []string, out *output) (status int) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case exited:
			status = int(r)
		default:
			panic(r)
		}
	}()
	parser, err := kong.New(&cli{},
		kong.Name("kmend-agent"),
		kong.Description("Measures with eBPF, on demand and within a budget, why something on this node is slow."),
		kong.Writers(out.Stdout, out.Stderr),
		kong.Exit(func(code int) { panic(exited(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(out),
	)
	if err != nil {
		panic(err) // the struct tags above are wrong
	}
	command, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(out.Stderr, "kmend-agent: %v\nRun \"kmend-agent --help\" for what is allowed.\n", err)
		return exitUsage
	}
	if err := command.Run(); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(out.Stderr, "kmend-agent: %v\n", err)
		return exitError
	}
	return exitOK
}
