package agent

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options configures an Agent.
type Options struct {
	// MaxAtOnce bounds the measurements under way; one more is refused as busy.
	MaxAtOnce int
	MaxWindow time.Duration
	// Budget bounds one measurement.
	Budget Budget
	// Patience is for how long probes that have attached wait for the others, so that
	// their windows begin together. More of it, on a quick machine, is time lost: they
	// all end at once then, too.
	Patience time.Duration
	// CRISocket is the container runtime's socket, a path or unix:///path; empty:
	// the usual places. It is asked only for targets that are known by pod name alone.
	CRISocket string
	// Proc is where this node's processes are seen, "/proc".
	Proc       string
	NodeName   string // empty: the host name
	Version    string // of the agent, shown in measurements
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
	// Recorder answers for windows that are over; nil: nothing does, and NoRecorder
	// says why.
	Recorder   Recorder
	NoRecorder string

	// open loads the probe; tests put another one in.
	open func(*meter) (prober, error)
}

const (
	defaultWindow = 3 * time.Second
	minWindow     = 100 * time.Millisecond
)

// DefaultOptions are four measurements at once, of up to 60 s, each for at most
// 2 s of CPU time.
func DefaultOptions() Options {
	return Options{
		MaxAtOnce: 4,
		MaxWindow: time.Minute,
		Patience:  20 * time.Millisecond,
		Budget:    Budget{CPU: 2 * time.Second, Memory: 256 << 20},
		Proc:      "/proc",
		Logger:    slog.New(slog.DiscardHandler),
	}
}

func (o Options) validate() error {
	switch {
	case o.MaxAtOnce < 1 || o.MaxAtOnce > 64:
		return fmt.Errorf("MaxAtOnce is %d; allowed: 1 to 64", o.MaxAtOnce)
	case o.MaxWindow < minWindow || o.MaxWindow > 10*time.Minute:
		return fmt.Errorf("MaxWindow is %s; allowed: %s to 10m", o.MaxWindow, minWindow)
	case o.Budget.CPU < 10*time.Millisecond:
		return fmt.Errorf("Budget.CPU is %s; allowed: 10ms and more", o.Budget.CPU)
	case o.Budget.Memory < 1<<20:
		return fmt.Errorf("Budget.Memory is %d bytes; allowed: 1048576 (1 MiB) and more", o.Budget.Memory)
	case o.Patience < 0 || o.Patience > attachTime:
		return fmt.Errorf("Patience is %s; allowed: 0 to %s", o.Patience, attachTime)
	case o.Proc == "":
		return fmt.Errorf("Proc is empty; it is usually /proc")
	case o.Logger == nil:
		return fmt.Errorf("Logger is nil; slog.DiscardHandler keeps it quiet")
	}
	return nil
}
