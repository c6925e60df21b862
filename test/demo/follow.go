package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/alertmanager"
)

// alert is what the demo fires: the labels of a host's alerting rule, and the
// one that says where it is slow.
func (d *demo) alert() alertmanager.Alert {
	return alertmanager.Alert{
		Labels: map[string]string{
			"alertname": "RequestsSlow", "severity": "page", "service": "demo", "cgroup": d.workload.Path,
		},
		Annotations: map[string]string{"summary": "Requests of the demo service take too long"},
		StartsAt:    time.Now(),
	}
}

// incident fires the alert, shows the incident's timeline as it grows, and
// returns the incident when it is closed.
func (d *demo) incident(ctx context.Context) (incident.Incident, error) {
	if l, err := d.workload.Latency(); err == nil {
		d.say("workload: a request takes %s (median), %s (p99)", round(l.P50), round(l.P99))
	}
	old, err := d.kmend.Incidents(ctx)
	if err != nil {
		return incident.Incident{}, err
	}
	known := map[string]bool{}
	for _, inc := range old {
		known[inc.ID] = true
	}
	fired := time.Now()
	if err := d.am.Post(ctx, d.alert()); err != nil {
		return incident.Incident{}, err
	}
	d.say("alert RequestsSlow fired through Alertmanager's API")
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("the incident was not closed within a minute"))
	defer cancel()
	inc, err := d.kmend.Wait(ctx, func(inc incident.Incident) bool { return !known[inc.ID] })
	if err != nil {
		return inc, err
	}
	shown := 0
	for {
		for ; shown < len(inc.Timeline); shown++ {
			e := inc.Timeline[shown]
			d.say("  %s: %s", e.Phase, e.Message)
		}
		if inc.Phase.Closed() {
			break
		}
		seen := shown
		next, err := d.kmend.Wait(ctx, func(i incident.Incident) bool {
			return i.ID == inc.ID && (i.Phase != inc.Phase || len(i.Timeline) > seen || i.Phase.Closed())
		})
		if err != nil {
			return inc, err
		}
		inc = next
	}
	d.say("incident %s closed: %s, %.1f s after the alert", inc.ID, inc.Outcome, time.Since(fired).Seconds())
	return inc, nil
}

func round(t time.Duration) time.Duration { return t.Round(100 * time.Microsecond) }

// say prints a line of progress with the time since the start.
func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "[%5.1f s] %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

func (d *demo) title(text string) { fmt.Fprintf(d.out, "\n--- %s\n", text) }
