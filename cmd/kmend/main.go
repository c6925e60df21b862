// Command kmend receives alerts, asks the kernel why, and heals what the kernel
// confirms. This package only parses flags and signals; each command is a file
// with a struct, and internal/app is the server, so tests run it in-process.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/mattn/go-isatty"
	_ "golang.org/x/crypto/x509roots/fallback" // Mozilla's certification authorities, where the system has none: an image from scratch
)

// Exit statuses, the same for every command.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// cli is the command line. Run of a command gets the context and an *output;
// Validate of a command, and every error kong finds itself, is bad usage.
type cli struct {
	Serve     serveCmd     `cmd:"" help:"Receive alerts, diagnose, plan, heal and report."`
	Diagnose  diagnoseCmd  `cmd:"" help:"Ask this node's kernel why a cgroup, process or pod is slow; needs no server."`
	Incidents incidentsCmd `cmd:"" help:"List incidents of a server, or show one."`
	Approve   approveCmd   `cmd:"" help:"Allow or deny the plan of an incident that waits for a person."`
	Deny      denyCmd      `cmd:"" help:"Deny the plan of an incident that waits for a person."`
	Report    reportCmd    `cmd:"" help:"Show what is sent of an incident, and send nothing."`
	Route     routeCmd     `cmd:"" help:"Try the routes of a configuration."`
	Config    configCmd    `cmd:"" help:"Check a configuration with all that it names, or print its JSON Schema."`
	Runbook   runbookCmd   `cmd:"" help:"Check runbooks, simulate one, or print their JSON Schema."`
	Policy    policyCmd    `cmd:"" help:"Check policies, and test what they decide."`
	Certs     certsCmd     `cmd:"" name:"certificates" help:"Make or renew the agents' certificate, in a Secret of the cluster."`
	Doctor    doctorCmd    `cmd:"" help:"Check the installation: each line is ok, or says what to do."`
	TestAlert testAlertCmd `cmd:"" help:"Send a synthetic alert through the whole way, changing nothing, and show each stage."`
	Backup    backupCmd    `cmd:"" help:"Write the record of incidents to a file, while kmend serve runs."`
	Restore   restoreCmd   `cmd:"" help:"Put a backup in the place of the record; what was open is ended, and kmend is paused."`
	Pause     pauseCmd     `cmd:"" help:"Stop a server from changing anything, at once."`
	Resume    resumeCmd    `cmd:"" help:"Let a server that was paused act again."`
	Version   versionCmd   `cmd:"" help:"Print the version."`
}

// output is where a command writes: results to Stdout, progress and logs to Stderr.
type output struct {
	Stdout io.Writer
	Stderr io.Writer
	Color  bool // Stdout is a terminal that shows colours, and NO_COLOR is not set
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer context.AfterFunc(ctx, stop)() // a second signal kills
	out := &output{Stdout: os.Stdout, Stderr: os.Stderr, Color: colors()}
	os.Exit(run(ctx, os.Args[1:], out))
}

// colors reports whether standard output shows colours (no-color.org).
func colors() bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isatty.IsTerminal(os.Stdout.Fd())
}

// exited carries the status of a flag that ends the program, --help, out of kong.
type exited int

// run parses args, runs the command and returns the exit status.
func run(ctx context.Context, args []string, out *output) (status int) {
	defer func() {
		if r := recover(); r != nil {
			code, ok := r.(exited)
			if !ok {
				panic(r)
			}
			status = int(code)
		}
	}()
	parser, err := kong.New(&cli{},
		kong.Name("kmend"),
		kong.Description("Asks the kernel why something is slow, and acts only on an answer that the kernel confirms."),
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
		fmt.Fprintf(out.Stderr, "kmend: %v%s\nRun \"kmend%s --help\" for what is allowed.\n", err, from(err), at(err))
		return exitUsage
	}
	err = command.Run()
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(out.Stderr, "kmend: %v\n", err)
	return exitError
}

// at is the command that a parse error is about, with a space before it.
func at(err error) string {
	parse, ok := errors.AsType[*kong.ParseError](err)
	if !ok || parse.Context == nil || parse.Context.Selected() == nil {
		return ""
	}
	var path string
	for node := parse.Context.Selected(); node != nil && node.Type != kong.ApplicationNode; node = node.Parent {
		if node.Type == kong.CommandNode {
			path = " " + node.Name + path
		}
	}
	return path
}

// from names the environment variable that gave the value which a parse error is
// about, when it was not the command line: nobody sees there what is wrong.
func from(err error) string {
	parse, ok := errors.AsType[*kong.ParseError](err)
	if !ok || parse.Context == nil || strings.Contains(err.Error(), "from envar") {
		return ""
	}
	given := map[*kong.Flag]bool{}
	for _, p := range parse.Context.Path {
		given[p.Flag] = true
	}
	for _, flag := range parse.Context.Flags() {
		rest, about := strings.CutPrefix(err.Error(), "--"+flag.Name)
		if !about || given[flag] || rest != "" && rest[0] != ' ' && rest[0] != ':' {
			continue
		}
		for _, env := range flag.Envs {
			if _, set := os.LookupEnv(env); set {
				return " (from " + env + ")"
			}
		}
	}
	return ""
}
