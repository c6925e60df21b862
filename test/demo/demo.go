package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/alertmanager"
	"github.com/kmend/kmend/test/server"
	"github.com/kmend/kmend/test/throttled"
)

// demo is one run.
type demo struct {
	binary  string
	dir     string
	verbose bool
	out     io.Writer

	began    time.Time
	tmp      string // of kmend and Alertmanager
	kmend    *server.Server
	am       *alertmanager.Server
	workload *throttled.Workload
	cleanups []func() error
}

// limit is how long the whole may take.
const limit = 3 * time.Minute

func (d *demo) run(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the demo took longer than %s", limit))
	defer cancel()
	d.began = time.Now()
	defer func() { err = errors.Join(err, d.clean()) }()
	if err := d.start(ctx); err != nil {
		return err
	}

	d.title("1. The alert, as kmend is out of the box: dry run")
	first, err := d.incident(ctx)
	if err != nil {
		return err
	}
	if err := d.checkDryRun(first); err != nil {
		return err
	}

	d.title("2. The same alert, the action allowed")
	if err := d.allow(ctx); err != nil {
		return err
	}
	second, err := d.incident(ctx)
	if err != nil {
		return err
	}
	if err := d.checkFixed(ctx, second); err != nil {
		return err
	}

	for _, inc := range []incident.Incident{first, second} {
		d.title("The report of incident " + inc.ID)
		text, err := d.kmend.Run(ctx, "incidents", "show", inc.ID)
		if err != nil {
			return err
		}
		fmt.Fprintln(d.out, text)
	}
	for _, format := range []string{"slack", "pagerduty"} {
		d.title("What is sent to " + format + " of incident " + second.ID)
		text, err := d.kmend.Run(ctx, "report", "preview", second.ID, "--format", format)
		if err != nil {
			return err
		}
		fmt.Fprintln(d.out, text)
	}
	file, err := d.save(first, second)
	if err != nil {
		return err
	}
	if err := d.clean(); err != nil {
		return err
	}
	d.say("all of this happened, and the kernel agrees; both incidents are in %s", file)
	return nil
}

// start brings up the workload, kmend and Alertmanager.
func (d *demo) start(ctx context.Context) error {
	var err error
	if d.binary, err = filepath.Abs(d.binary); err != nil {
		return fmt.Errorf("looking for kmend: %w", err)
	}
	if d.tmp, err = os.MkdirTemp("", "kmend-demo-"); err != nil {
		return fmt.Errorf("making a folder for the demo's data: %w", err)
	}
	d.later(func() error { return os.RemoveAll(d.tmp) })
	for _, dir := range []string{"kmend", "alertmanager"} {
		if err := os.Mkdir(filepath.Join(d.tmp, dir), 0o700); err != nil {
			return fmt.Errorf("making a folder for the demo's data: %w", err)
		}
	}

	o := throttled.DefaultOptions()
	o.Name = cgroupName(os.Getpid())
	removeLeftovers()
	if d.workload, err = throttled.Start(ctx, o); err != nil {
		return err
	}
	d.later(d.workload.Close)
	d.say("workload: %d serving threads in %s want 0.3 CPU, their quota is %.1f CPU", o.Threads, d.workload.Path, o.Quota)

	d.kmend, err = server.Start(ctx, server.Options{
		Binary: d.binary, Dir: filepath.Join(d.tmp, "kmend"), DryRun: true, Log: d.log("kmend")})
	if err != nil {
		return err
	}
	d.later(func() error { return d.kmend.Stop() })
	d.say("kmend serve: %s (one process, this node's kernel, policies as shipped)", d.kmend.URL)

	d.am, err = alertmanager.Start(ctx, alertmanager.Options{
		Dir: filepath.Join(d.tmp, "alertmanager"), WebhookURL: d.kmend.WebhookURL(), TokenFile: d.kmend.WebhookTokenFile(),
		GroupInterval: 200 * time.Millisecond, Log: d.log("alertmanager")})
	if err != nil {
		return err
	}
	d.later(d.am.Stop)
	d.say("Alertmanager: %s, its receiver is kmend", d.am.URL)
	return nil
}

func cgroupName(pid int) string { return fmt.Sprintf("kmend-demo-%d", pid) }

// save leaves the incidents for scripts.
func (d *demo) save(incs ...incident.Incident) (string, error) {
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return "", fmt.Errorf("leaving the report: %w", err)
	}
	b, err := json.MarshalIndent(map[string]any{
		"apiVersion": incident.APIVersion, "kind": "IncidentList", "items": incs,
	}, "", "  ")
	if err != nil {
		return "", fmt.Errorf("leaving the report: %w", err)
	}
	file := filepath.Join(d.dir, "incidents.json")
	if err := os.WriteFile(file, append(b, '\n'), 0o644); err != nil {
		return "", fmt.Errorf("leaving the report: %w", err)
	}
	return file, nil
}
