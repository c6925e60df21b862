package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/server"
	"github.com/kmend/kmend/test/throttled"
)

// goal of the issue for the 95th percentile.
const goal = 150 * time.Millisecond

// window is what kmend measures by default.
const window = 3 * time.Second

// latency measures the time from the moment the sender has its answer to the
// moment the confirmed cause is on the timeline, without the window. Both clocks
// are this machine's. Beside it, the part before: how long the answer took.
func (b *bench) latency(ctx context.Context, out io.Writer) error {
	dir, err := b.folder("latency")
	if err != nil {
		return err
	}
	s, err := server.Start(ctx, server.Options{Binary: b.binary, Dir: dir, DryRun: true, Window: window})
	if err != nil {
		return err
	}
	defer func() { _ = s.Stop() }()
	w, err := throttled.Start(ctx, throttled.DefaultOptions())
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }()
	var accept, confirm []time.Duration
	for i := range b.runs {
		a, c, err := b.once(ctx, s, fmt.Sprintf("run-%d", i), w.Path)
		if err != nil {
			return err
		}
		accept, confirm = append(accept, a), append(confirm, c)
		b.say("latency %d of %d: accepted in %.1f ms, confirmed %.1f ms after that and the window", i+1, b.runs, ms(a), ms(c))
	}
	p95 := quantile(confirm, 0.95)
	fmt.Fprintf(out, `
## From an accepted alert to a confirmed cause

%d alerts about a throttled workload, one after another; window %s; the window is subtracted.

| | median | p95 | worst |
|---|---|---|---|
| webhook answers (committed with fsync) | %.1f ms | %.1f ms | %.1f ms |
| answer to confirmed cause, minus the window | %.1f ms | **%.1f ms** | %.1f ms |

Goal: p95 under %d ms: %s.
`, b.runs, window, ms(quantile(accept, .5)), ms(quantile(accept, .95)), ms(quantile(accept, 1)),
		ms(quantile(confirm, .5)), ms(p95), ms(quantile(confirm, 1)), goal.Milliseconds(), goalIs(p95 < goal))
	return nil
}

// once delivers one alert and returns how long the answer took, and from the
// answer to the confirmed cause without the window.
func (b *bench) once(ctx context.Context, s *server.Server, group, path string) (accept, confirm time.Duration, err error) {
	body, err := notification(group, map[string]string{"alertname": "RequestsSlow", "cgroup": path}, time.Now())
	if err != nil {
		return 0, 0, err
	}
	sent := time.Now()
	status, answer, err := s.Deliver(ctx, body)
	accepted := time.Now()
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("%d %s", status, answer)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("delivering: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("not closed within a minute"))
	defer cancel()
	inc, err := s.Wait(ctx, func(i incident.Incident) bool {
		return i.Phase.Closed() && !i.ReceivedAt.Before(sent.Add(-time.Millisecond))
	})
	if err != nil {
		return 0, 0, err
	}
	for _, e := range inc.Timeline {
		if e.Kind == string(incident.Confirmed) {
			return accepted.Sub(sent), e.At.Sub(accepted.Round(0)) - window, nil
		}
	}
	return 0, 0, fmt.Errorf("incident %s ended as %s without a confirmed cause: %s", inc.ID, inc.Outcome, inc.Reason)
}
