package recorder

import (
	"fmt"
	"log/slog"
	"time"

	probe "github.com/kmend/kmend/bpf/recorder"
)

// Options configures a Recorder.
type Options struct {
	Keep     time.Duration // how far back it answers
	MaxBytes int           // of all buckets together
	// MaxGroups bounds the cgroups that are remembered, those that are gone among
	// them.
	MaxGroups int
	// Dir is where the cpu controller's hierarchy is mounted: cgroups are named by
	// their path below it.
	Dir    string
	Proc   string // where the kernel's proc is mounted
	Probe  probe.Options
	Logger *slog.Logger

	// load attaches the probe; tests put another one in.
	load func(probe.Options) (source, error)
}

// interval is the length of a bucket.
const interval = time.Second

// DefaultOptions keep 15 minutes in 16 MiB.
func DefaultOptions() Options {
	return Options{
		Keep: 15 * time.Minute, MaxBytes: 16 << 20, MaxGroups: 8192, Proc: "/proc",
		Probe: probe.DefaultOptions(), Logger: slog.New(slog.DiscardHandler),
		load: func(o probe.Options) (source, error) { return probe.Load(o) },
	}
}

func (o Options) validate() error {
	switch {
	case o.Keep < 10*time.Second || o.Keep > time.Hour:
		return fmt.Errorf("Keep is %s; allowed: 10s to 1h", o.Keep)
	case o.MaxBytes < 64<<10 || o.MaxBytes > 1<<30:
		return fmt.Errorf("MaxBytes is %d; allowed: 64 KiB to 1 GiB", o.MaxBytes)
	case o.MaxGroups < 16 || o.MaxGroups > 1<<20:
		return fmt.Errorf("MaxGroups is %d; allowed: 16 to %d", o.MaxGroups, 1<<20)
	case o.Logger == nil:
		return fmt.Errorf("Logger is nil; slog.DiscardHandler keeps it quiet")
	}
	return nil
}
