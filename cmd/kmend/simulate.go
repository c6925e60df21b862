package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/kmend/kmend/internal/app"
	"github.com/kmend/kmend/internal/build"
	"github.com/kmend/kmend/internal/store"
	"github.com/kmend/kmend/report"
)

// simulateCmd is `kmend runbook simulate RUNBOOK --incident ID|FILE`.
type simulateCmd struct {
	remote
	Runbook  string `arg:"" help:"Name of a runbook that is loaded, or a YAML file (with a dot or a slash in it)."`
	Incident string `required:"" placeholder:"ID|FILE" help:"An incident of the server; or a file that kmend incidents show -o json or kmend diagnose -o json wrote."`
	Config   string `short:"c" type:"path" env:"KMEND_CONFIG" placeholder:"FILE" help:"kmend.yaml: runbooks, policies and the cluster that is asked; without it the defaults."`
	Now      bool   `help:"Judge as at this moment; without it as at the end of the measurement."`
	Output   string `short:"o" enum:"text,json" default:"text" help:"text or json (${default})."`
}

// Validate is bad usage.
func (c *simulateCmd) Validate() error {
	if strings.TrimSpace(c.Runbook) == "" {
		return errors.New("which runbook? Give its name, or a YAML file")
	}
	if err := checkIDOrFile(c.Incident); err != nil {
		return fmt.Errorf("--incident: %w", err)
	}
	return c.remote.Validate()
}

// Run simulates and prints. Whatever the answer is, it is a success.
func (c *simulateCmd) Run(ctx context.Context, out *output) error {
	config, err := configuration(c.Config)
	if err != nil {
		return fmt.Errorf("reading the configuration:\n%w", err)
	}
	inc, err := c.incident(ctx, c.Incident)
	if err != nil {
		return err
	}
	at := time.Now()
	if d := inc.Diagnosis; !c.Now && d != nil && !d.Window.Start.IsZero() {
		at = d.Window.End()
	}
	o := app.Options{Version: build.Of(version).Version, Logger: slog.New(slog.DiscardHandler)}
	var past app.Past
	if !isFile(c.Incident) {
		past = server{c.remote}
	}
	s, err := app.Simulate(ctx, config, o, c.Runbook, inc, at, past)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return report.SimulationJSON(out.Stdout, s)
	}
	return report.SimulationText(out.Stdout, s, inc.Target, report.Options{Color: out.Color, Width: width(out.Stdout)})
}

// server is the one that has the incident: it knows what kmend did, and a pause.
type server struct{ remote }

// Runs asks what was done since a time.
func (s server) Runs(ctx context.Context, since time.Time) ([]store.Run, error) {
	var list app.RunList
	err := s.get(ctx, app.RunsPath(since), &list)
	return list.Items, err
}

// Paused asks whether it is paused, by whichever switch.
func (s server) Paused(ctx context.Context) (string, error) {
	var state pauseState
	err := s.get(ctx, "/api/v1/pause", &state)
	return state.Why, err
}
