package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/kmend/kmend/diagnose/agent"
	"github.com/kmend/kmend/diagnose/cause"
	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/build"
	"github.com/kmend/kmend/report"
	"github.com/mattn/go-isatty"
	"golang.org/x/sys/unix"
)

// diagnoseCmd is `kmend diagnose`: the measurement and the causes alone, on this
// node, without server, cluster or configuration.
type diagnoseCmd struct {
	Cgroup    string        `xor:"target" required:"" placeholder:"PATH" help:"Directory of a cgroup, /sys/fs/cgroup/...; on cgroup v1 of any controller."`
	PID       int           `name:"pid" xor:"target" required:"" placeholder:"PID" help:"A process."`
	Pod       string        `xor:"target" required:"" placeholder:"NAMESPACE/NAME[/CONTAINER]" help:"A pod on this node, or one of its containers."`
	Window    window        `default:"3s" help:"How long to measure, 500ms to 60s (${default})."`
	Since     ago           `placeholder:"AGO" help:"Ask about the past: a window from so long ago (5m), which the flight recorder of this node's agent answers."`
	Until     ago           `default:"0s" placeholder:"AGO" help:"End of the window that --since begins, so long ago; 0s is now."`
	Agent     string        `env:"KMEND_AGENT_SOCKET" placeholder:"PATH" help:"Have the agent of this node measure, at its socket, which has loaded its probes; --since always does (/run/kmend/agent.sock)."`
	Output    string        `short:"o" enum:"text,json" default:"text" help:"text or json (${default})."`
	CPUBudget time.Duration `name:"cpu-budget" env:"KMEND_CPU_BUDGET" default:"2s" placeholder:"DURATION" help:"CPU time that measuring may cost, beyond which it ends itself (${default})."`
	CRISocket string        `name:"cri-socket" env:"CONTAINER_RUNTIME_ENDPOINT" placeholder:"PATH" help:"The container runtime's socket, for --pod; the usual places if empty."`
}

// window is a duration that says what is allowed when it is none.
type window time.Duration

// UnmarshalText reads 3s, 500ms and the like.
func (w *window) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is no duration; write e.g. 3s; 500ms to 60s", text)
	}
	*w = window(d)
	return nil
}

// ago is how far back something is.
type ago time.Duration

// UnmarshalText reads 5m, 90s and the like.
func (a *ago) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil || d < 0 {
		return fmt.Errorf("%q does not say how long ago; write e.g. 5m or 90s", text)
	}
	*a = ago(d)
	return nil
}

var podFlag = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*/[a-z0-9][a-z0-9.-]*(/[a-z0-9][a-z0-9-]*)?$`)

// Validate is bad usage; that exactly one target is given is kong's xor.
func (c *diagnoseCmd) Validate() error {
	switch {
	case c.Pod != "" && !podFlag.MatchString(c.Pod):
		return fmt.Errorf("--pod is %q; write NAMESPACE/NAME or NAMESPACE/NAME/CONTAINER", c.Pod)
	case c.PID < 0:
		return fmt.Errorf("--pid is %d; write the number of a process", c.PID)
	case c.Cgroup == "" && c.Pod == "" && c.PID == 0:
		return errors.New("the target is empty; give one of --cgroup, --pid and --pod a value")
	case c.Window < window(500*time.Millisecond) || c.Window > window(time.Minute):
		return fmt.Errorf("--window is %s; allowed: 500ms to 60s", time.Duration(c.Window))
	case c.Until != 0 && c.Since == 0:
		return errors.New("--until is the end of what --since begins; give --since too")
	case c.Since != 0 && (c.Since-c.Until < ago(2*time.Second) || c.Since-c.Until > ago(15*time.Minute)):
		return fmt.Errorf("--since %s --until %s is a window of %s; allowed: 2s to 15m",
			time.Duration(c.Since), time.Duration(c.Until), time.Duration(c.Since-c.Until))
	}
	return nil
}

func (c *diagnoseCmd) target() (t incident.Target, err error) {
	switch {
	case c.Pod != "":
		parts := append(strings.Split(c.Pod, "/"), "")
		t.Namespace, t.Pod, t.Container = parts[0], parts[1], parts[2]
	case c.Cgroup != "":
		t.Cgroup, err = filepath.Abs(c.Cgroup)
	default:
		t.PID = c.PID
	}
	return t, err
}

// Run measures and prints the diagnosis. Any verdict is a success.
func (c *diagnoseCmd) Run(ctx context.Context, out *output) error {
	target, err := c.target()
	if err != nil {
		return fmt.Errorf("naming the target: %w", err)
	}
	m, err := c.measure(ctx, target, out)
	if err != nil {
		return fmt.Errorf("diagnosing %s: %w", target, err)
	}
	d := cause.Diagnose(m)
	if c.Output == "json" {
		enc := json.NewEncoder(out.Stdout)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(d)
	}
	return report.Diagnosis(out.Stdout, d, report.Options{Color: out.Color, Width: width(out.Stdout)})
}

// measure asks for the window: this process measures one that is to come, or the
// node's agent does, which has recorded those that are over.
func (c *diagnoseCmd) measure(ctx context.Context, target incident.Target, out *output) (incident.Measurement, error) {
	r := agent.Request{Target: target, Window: time.Duration(c.Window), Budget: agent.Budget{CPU: c.CPUBudget}}
	if c.Since != 0 || c.Agent != "" {
		return c.ask(ctx, r, out)
	}
	o := agent.DefaultOptions()
	o.Budget.CPU = c.CPUBudget
	o.CRISocket, o.Version = c.CRISocket, build.Of(version).Version
	a, err := agent.New(o)
	if err != nil {
		return incident.Measurement{}, err
	}
	wait := newCountdown(out.Stderr)
	m, err := a.Measure(ctx, r, wait.progress)
	wait.stop()
	return m, errors.Join(err, a.Close())
}

// ask has the agent of this node measure, or say what it has recorded.
func (c *diagnoseCmd) ask(ctx context.Context, r agent.Request, out *output) (incident.Measurement, error) {
	socket, err := filepath.Abs(cmp.Or(c.Agent, agent.DefaultSocket))
	if err != nil {
		return incident.Measurement{}, err
	}
	o := agent.DefaultClientOptions()
	o.URL, o.Timeout = "unix://"+socket, time.Minute // who asks by hand sees that it waits
	client, err := agent.NewClient(o)
	if err != nil {
		return incident.Measurement{}, err
	}
	defer client.Close()
	if now := time.Now(); c.Since != 0 {
		r = agent.Request{Target: r.Target, Since: now.Add(-time.Duration(c.Since))}
		if c.Until != 0 {
			r.Until = now.Add(-time.Duration(c.Until))
		}
	}
	wait := newCountdown(out.Stderr)
	m, err := client.Measure(ctx, r, wait.progress)
	wait.stop()
	switch {
	case errors.Is(err, fs.ErrPermission):
		err = fmt.Errorf("the socket %s of this node's agent is root's: run as root", socket)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		err = fmt.Errorf("no agent of this node answers at %s, and it has the flight recorder, too; start one with `kmend-agent serve --insecure-loopback --listen 127.0.0.1:9791`, or set agents.socket of kmend serve, or give its socket with --agent", socket)
	}
	return m, err
}

// width is the columns of a terminal, 0 if w is none.
func width(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

// countdown shows the wait for the window on one line of a terminal, and
// nothing elsewhere.
type countdown struct {
	w    io.Writer
	done chan struct{}
	wg   sync.WaitGroup
}

func newCountdown(w io.Writer) *countdown {
	f, ok := w.(*os.File)
	if !ok || !isatty.IsTerminal(f.Fd()) {
		w = nil
	}
	return &countdown{w: w, done: make(chan struct{})}
}

func (c *countdown) progress(p agent.Progress) {
	if c.w == nil || p.Stage != agent.Measuring {
		return
	}
	c.wg.Go(func() {
		started := time.Now()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			gone := min(time.Since(started), p.Window)
			bar := int(20 * gone / p.Window)
			fmt.Fprintf(c.w, "\r\x1b[K%s  [%s%s] %.1f s", p.Message, strings.Repeat("#", bar), strings.Repeat(".", 20-bar), gone.Seconds())
			select {
			case <-c.done:
				fmt.Fprint(c.w, "\r\x1b[K")
				return
			case <-tick.C:
			}
		}
	})
}

func (c *countdown) stop() {
	close(c.done)
	c.wg.Wait()
}
