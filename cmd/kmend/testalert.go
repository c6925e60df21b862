package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/app"
	"github.com/kmend/kmend/report"
)

// testAlertCmd is `kmend test-alert`.
type testAlertCmd struct {
	remote
	Pod    string            `placeholder:"NAMESPACE/NAME" help:"About this pod; the same as --target pod/NAMESPACE/NAME."`
	Target string            `placeholder:"TARGET" help:"About pod/NS/NAME, deployment/NS/NAME (or another kind), service/NS/NAME, node/NAME, unit/NODE/NAME or cgroup/PATH."`
	Label  map[string]string `placeholder:"NAME=VALUE" help:"A label of the alert; several times. Routes, policies and runbooks see them."`
	Post   bool              `help:"Post it to Slack, marked TEST; needs an approver's token. PagerDuty is never told."`
	Within time.Duration     `default:"3m" help:"How long to follow the incident (${default})."`
	Output string            `short:"o" enum:"text,json" default:"text" help:"text: each stage as it is reached; json: the incident at its end (${default})."`
}

// Validate is bad usage.
func (c *testAlertCmd) Validate() error {
	switch {
	case c.Pod != "" && c.Target != "":
		return errors.New("--pod and --target are both set; give one")
	case c.Pod == "" && c.Target == "" && len(c.Label) == 0:
		return errors.New("about what? Give --pod NAMESPACE/NAME, --target or --label")
	case c.Pod != "" && strings.Count(c.Pod, "/") != 1:
		return fmt.Errorf("--pod is %q; want NAMESPACE/NAME", c.Pod)
	case c.Within <= 0:
		return fmt.Errorf("--within is %s; want more than 0s", c.Within)
	}
	return c.remote.Validate()
}

// Run sends the test alert and follows its incident to the end. It fails where the
// way does not lead to an answer.
func (c *testAlertCmd) Run(ctx context.Context, out *output) error {
	request := app.TestRequest{Target: c.Target, Labels: c.Label, Post: c.Post}
	if c.Pod != "" {
		request.Target = "pod/" + c.Pod
	}
	var sent app.TestAnswer
	if err := c.call(ctx, http.MethodPost, "/api/v1/test-alerts", request, &sent); err != nil {
		return err
	}
	if err := checkID(sent.ID); err != nil {
		return fmt.Errorf("reading the answer of %s: %w", c.Server, err)
	}
	say := func(stage, format string, args ...any) {
		if c.Output == "text" {
			fmt.Fprintf(out.Stdout, "%-9s %s\n", stage, printable(fmt.Sprintf(format, args...)))
		}
	}
	say("sent", "incident %s; dry run whatever the server's mode is: nothing is changed", sent.ID)
	inc, err := c.follow(ctx, sent.ID, say)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		enc := json.NewEncoder(out.Stdout)
		enc.SetIndent("", "  ")
		if err := enc.Encode(inc); err != nil {
			return err
		}
	} else {
		_ = c.get(ctx, "/api/v1/test-alerts/"+sent.ID, &sent) // with what is known now; without, what was known first
		c.end(say, inc, sent.Told)
	}
	return wayLed(inc)
}

// stages are what a line of the timeline is called.
var stages = map[string]string{
	"received": "received", "measuring": "measuring", "confirmed": "cause", "clean": "cause", "inconclusive": "cause",
	"planned": "plan", "decided": "guards", "waiting": "waiting", "closed": "ended",
}

// follow shows the incident's timeline as it grows, until its end.
func (c *testAlertCmd) follow(ctx context.Context, id string, say func(string, string, ...any)) (inc incident.Incident, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Within, fmt.Errorf("test alert %s has not ended within %s; see: kmend incidents show %s", id, c.Within, id))
	defer cancel()
	for shown := 0; ; {
		if err := c.get(ctx, "/api/v1/incidents/"+id, &inc); err != nil {
			if ctx.Err() != nil {
				return inc, context.Cause(ctx)
			}
			return inc, err
		}
		for _, e := range inc.Timeline[min(shown, len(inc.Timeline)):] {
			stage, known := stages[e.Kind]
			if !known {
				stage = e.Kind
			}
			say(stage, "%s", e.Message)
		}
		shown = len(inc.Timeline)
		if inc.Phase.Closed() {
			return inc, nil
		}
		select {
		case <-ctx.Done():
			return inc, context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// end says what was found on the way and what would have been done.
func (c *testAlertCmd) end(say func(string, string, ...any), inc incident.Incident, told string) {
	say("target", "%s", report.Target(inc))
	if d := inc.Diagnosis; d != nil && d.Node.Name != "" {
		say("measured", "%d pieces of evidence in %.1f s on node %s", len(d.Evidence), d.Window.Seconds, d.Node.Name)
	}
	if inc.Plan != nil {
		for i, s := range inc.Plan.Steps {
			what := s.Action
			if s.Preview != nil {
				what = s.Preview.Summary
			}
			say("would do", "step %d of %d: %s", i+1, len(inc.Plan.Steps), what)
		}
	}
	if len(inc.Executions) > 0 {
		say("CHANGED", "%d steps were carried out: report this as a bug of kmend's", len(inc.Executions))
	}
	say("told", "%s", told)
}

// wayLed says why a test alert did not get an answer, nil when it did: a plan, a report, or that
// there is nothing to do.
func wayLed(inc incident.Incident) error {
	switch inc.Outcome {
	case incident.DryRun, incident.Reported, incident.OutcomeClean, incident.NoRunbook, incident.Denied:
		if inc.Test && len(inc.Executions) == 0 {
			return nil
		}
		return errors.New("the incident is not one of a test alert's")
	}
	return fmt.Errorf("the way did not lead to its end: %s: %s", inc.Outcome, inc.Reason)
}
