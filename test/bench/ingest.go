package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kmend/kmend/test/alertmanager"
	"github.com/kmend/kmend/test/server"
)

const (
	senders  = 16
	turnTime = 3 * time.Second
)

// sent is what the senders of one turn saw.
type sent struct {
	rates []float64 // accepted per second, one a turn
	times []time.Duration
}

// ingest compares how fast kmend commits notifications, with fsync, with how
// fast a real Alertmanager takes alerts into its memory, in turns.
func (b *bench) ingest(ctx context.Context, out io.Writer) error {
	dir, err := b.folder("ingest")
	if err != nil {
		return err
	}
	s, err := server.Start(ctx, server.Options{Binary: b.binary, Dir: dir, DryRun: true, MaxOpenIncidents: 100_000})
	if err != nil {
		return err
	}
	defer func() { _ = s.Stop() }()
	amDir, err := b.folder("ingest-alertmanager")
	if err != nil {
		return err
	}
	// It would notify nobody within this run: only taking in is measured.
	am, err := alertmanager.Start(ctx, alertmanager.Options{Dir: amDir, WebhookURL: s.WebhookURL(), GroupWait: time.Hour, GroupInterval: time.Hour})
	if err != nil {
		return err
	}
	defer func() { _ = am.Stop() }()

	var n atomic.Int64
	deliver := func(group string, labels map[string]string, since time.Time) error {
		body, err := notification(group, labels, since)
		if err != nil {
			return err
		}
		status, answer, err := s.Deliver(ctx, body)
		if err == nil && status/100 != 2 {
			err = fmt.Errorf("%d %s", status, answer)
		}
		return err
	}
	began := time.Now()
	unique := func() string { return fmt.Sprint(n.Add(1)) }
	file, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return fmt.Errorf("making a file: %w", err)
	}
	defer file.Close()
	what := []struct {
		name    string
		senders int
		send    func() error
		sent
	}{
		{name: "the disk: 4 KiB written and fsynced, one after another", senders: 1, send: func() error {
			if _, err := file.WriteAt(make([]byte, 4096), n.Add(1)*4096); err != nil {
				return err
			}
			return file.Sync()
		}},
		{name: "kmend: notifications of groups it knows", senders: senders, send: func() error {
			return deliver("known", map[string]string{"alertname": "NoTarget"}, began)
		}},
		{name: "kmend: notifications of new groups, each a new incident", senders: senders, send: func() error {
			return deliver(unique(), map[string]string{"alertname": "NoTarget", "shard": unique()}, time.Now())
		}},
		{name: "Alertmanager: alerts, in memory", senders: senders, send: func() error {
			return am.Post(ctx, alertmanager.Alert{Labels: map[string]string{"alertname": "NoTarget", "shard": unique()},
				Annotations: map[string]string{"summary": "Requests take too long", "description": "p99 of the checkout is 2.1 s; the objective is 300 ms"}})
		}},
	}
	for round := range b.rounds {
		for i := range what {
			w := &what[i]
			rate, times, err := load(ctx, w.senders, w.send)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			w.rates, w.times = append(w.rates, rate), append(w.times, times...)
			if err := idle(ctx, s); err != nil {
				return err
			}
			b.say("ingest round %d of %d: %.0f a second of %s", round+1, b.rounds, rate, w.name)
		}
	}
	fmt.Fprintf(out, `
## Durable ingest

%d senders at once, one alert a request, %d turns of %s each, in turns. kmend answers after the commit is on disk (fsync);
Alertmanager keeps alerts in memory. The data is in the folder for temporary files.

| | accepted per second (median) | lowest | highest | p50 | p99 |
|---|---|---|---|---|---|
`, senders, b.rounds, turnTime)
	for _, w := range what {
		fmt.Fprintf(out, "| %s | **%.0f** | %.0f | %.0f | %.1f ms | %.1f ms |\n", w.name, median(w.rates),
			quantile(w.rates, 0.0001), quantile(w.rates, 1), ms(quantile(w.times, 0.5)), ms(quantile(w.times, 0.99)))
	}
	return nil
}

// idle waits until kmend has closed every incident: a turn leaves no work to the next.
func idle(ctx context.Context, s *server.Server) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Minute, errors.New("kmend still works on its incidents after 10 minutes"))
	defer cancel()
	return s.WaitFor(ctx, func(ctx context.Context) error {
		open, err := s.Open(ctx)
		if err == nil && len(open) > 0 {
			err = fmt.Errorf("%d incidents are open", len(open))
		}
		return err
	})
}

// load sends for one turn and returns the rate per second and each request's time.
func load(ctx context.Context, senders int, send func() error) (rate float64, times []time.Duration, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var errs []error
	began := time.Now()
	for range senders {
		wg.Go(func() {
			var mine []time.Duration
			var err error
			for err == nil && time.Since(began) < turnTime && ctx.Err() == nil {
				start := time.Now()
				if err = send(); err == nil {
					mine = append(mine, time.Since(start))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			times, errs = append(times, mine...), append(errs, err)
		})
	}
	wg.Wait()
	if err := errors.Join(append(errs, context.Cause(ctx))...); err != nil {
		return 0, nil, err
	}
	return float64(len(times)) / time.Since(began).Seconds(), times, nil
}
