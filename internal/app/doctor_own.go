package app

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/doctor"
	"github.com/kmend/kmend/internal/store"
)

// arrivals is what is known of the alerts that came since the start.
type arrivals struct {
	since    time.Time
	last     atomic.Int64 // when, in nanoseconds since 1970; 0: none
	registry prometheus.Gatherer
}

// own are the checks of kmend itself: its database, what arrived, what it read again.
func (e examiner) own() []doctor.Check {
	checks := []doctor.Check{{Group: "kmend", Name: "database", Run: e.checkStorage}}
	if e.arrivals != nil {
		checks = append(checks, doctor.Check{Group: "kmend", Name: "alerts", Run: e.checkArrivals})
	}
	if e.reloads != nil {
		checks = append(checks, doctor.Check{Group: "kmend", Name: "configuration in use", Run: func(ctx context.Context) []doctor.Line {
			if err := e.reloads.broken(ctx); err != nil {
				return []doctor.Line{doctor.Wrong("", "correct the files; until then kmend goes on with what it had read", "%v", err)}
			}
			return []doctor.Line{doctor.Fine("", "what is in the files is in use")}
		}})
	}
	if e.config.DryRun {
		return append(checks, saying("kmend", doctor.Absent("mode", "dry run: nothing is changed, whatever a policy allows (dryRun)")))
	}
	return append(checks, saying("kmend", doctor.Fine("mode", "it acts where a policy allows it (dryRun: false)")))
}

// inspect looks at the database that the configuration names.
func (c Config) inspect(ctx context.Context) (store.Inspection, error) {
	if !c.shared() {
		return store.InspectFile(ctx, c.databaseFile())
	}
	address, _, err := c.address()
	if err != nil {
		return store.Inspection{}, err
	}
	return store.InspectPostgres(ctx, address)
}

// leastFree is how much of a disk has to be free: incidents are small, and their
// number is bounded by the alerts.
const leastFree = 200 << 20

func (e examiner) checkStorage(ctx context.Context) []doctor.Line {
	asked := time.Now()
	got, err := e.database(ctx)
	answered := time.Now()
	lines := e.disk()
	switch {
	case errors.Is(err, store.ErrNoDatabase):
		return append([]doctor.Line{doctor.Absent("", "%v", err)}, lines...)
	case err != nil:
		return append([]doctor.Line{doctor.Wrong("", "see that the database is up and that database, databaseFile or dataDir is right", "%v", err)}, lines...)
	case got.Schema > got.Known:
		return append([]doctor.Line{doctor.Wrong("", "start the newer kmend that wrote it, or restore the backup of before the upgrade (docs/operate.md)",
			"its schema has version %d, and this kmend knows none newer than %d", got.Schema, got.Known)}, lines...)
	case got.Schema < got.Known:
		lines = append([]doctor.Line{doctor.Fine("", "it answers; schema %d, which the next start brings to %d; %s", got.Schema, got.Known, sized(got))}, lines...)
	default:
		lines = append([]doctor.Line{doctor.Fine("", "it answers; schema %d, which is this kmend's; %s", got.Schema, sized(got))}, lines...)
	}
	if !got.Clock.IsZero() {
		by := got.Clock.Sub(answered)
		if by < 0 {
			by = min(got.Clock.Sub(asked), 0)
		}
		lines = append(lines, clockLine("clock of the database", "the database", by))
	}
	return lines
}

func sized(i store.Inspection) string {
	return fmt.Sprintf("%.1f MB, %d incidents open", float64(i.Bytes)/1e6, i.Open)
}

// disk says how much is free where the database is.
func (e examiner) disk() []doctor.Line {
	if e.config.shared() {
		return nil
	}
	var s unix.Statfs_t
	if err := unix.Statfs(e.config.DataDir, &s); err != nil {
		return []doctor.Line{doctor.Wrong("disk", "make the directory, or let dataDir name another", "%s: %v", e.config.DataDir, err)}
	}
	free := s.Bavail * uint64(s.Bsize)
	if free < leastFree {
		return []doctor.Line{doctor.Wrong("disk", "make room, or set retention", "%d MB are free in %s; want %d", free/1e6, e.config.DataDir, leastFree/1000000)}
	}
	return []doctor.Line{doctor.Fine("disk", "%.1f GB are free in %s", float64(free)/1e9, e.config.DataDir)}
}

// checkArrivals says what came in. That nothing came is no fault: there may be
// nothing to alert about.
func (e examiner) checkArrivals(ctx context.Context) []doctor.Line {
	var lines []doctor.Line
	counts, err := e.arrivals.counts()
	if err != nil {
		return []doctor.Line{doctor.Wrong("", "report this as a bug of kmend's", "counting what arrived: %v", err)}
	}
	for _, wrong := range []struct{ result, todo, what string }{
		{"unauthorized", "let the receiver send webhook.bearerTokenFile's token or webhook.basicAuth's password", "without the right credentials"},
		{"malformed", "point Alertmanager at /webhook/alertmanager and Grafana at /webhook/grafana", "that cannot be read"},
		{"too_large", "raise webhook.maxBodyBytes, or set max_alerts in Alertmanager", "that were too large"},
	} {
		if n := counts[wrong.result]; n > 0 {
			lines = append(lines, doctor.Wrong("", wrong.todo, "%d notifications came since the start %s", n, wrong.what))
		}
	}
	if last := e.arrivals.last.Load(); last != 0 {
		return append(lines, doctor.Fine("", "the last notification came %s ago; %d were taken since the start", ago(time.Unix(0, last)), counts["accepted"]))
	}
	before := "and none is in the database"
	if got, err := e.database(ctx); err == nil && !got.Received.IsZero() {
		before = fmt.Sprintf("the newest incident is of %s ago", ago(got.Received))
	}
	return append(lines, doctor.Absent("", "no notification came since the start %s ago, %s: kmend doctor --alertmanager URL sees whether Alertmanager sends here",
		ago(e.arrivals.since), before))
}

func ago(at time.Time) time.Duration { return time.Since(at).Round(time.Second) }

// counts are the webhook's calls by result.
func (a *arrivals) counts() (map[string]int, error) {
	families, err := a.registry.Gather()
	if err != nil {
		return nil, err
	}
	n := map[string]int{}
	for _, f := range families {
		if f.GetName() != "kmend_webhook_notifications_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				n[l.GetValue()] += int(m.GetCounter().GetValue())
			}
		}
	}
	return n, nil
}

// noting is a receiver that notes when something came.
type noting struct {
	receiver
	arrivals *arrivals
}

func (n noting) Ingest(ctx context.Context, x incident.Notification) error {
	err := n.receiver.Ingest(ctx, x)
	if err == nil {
		n.arrivals.last.Store(time.Now().UnixNano())
	}
	return err
}
