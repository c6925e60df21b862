package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/kmend/kmend/internal/app"
	"github.com/kmend/kmend/internal/build"
	"github.com/kmend/kmend/internal/doctor"
)

// doctorCmd is `kmend doctor`.
type doctorCmd struct {
	remote
	Config       string `short:"c" type:"path" env:"KMEND_CONFIG" placeholder:"FILE" help:"Check what this kmend.yaml names from here, as kmend serve would; no server is asked."`
	Kubeconfig   string `type:"path" placeholder:"FILE" help:"Look at kmend's cluster, too: its service account's rights, the agents' pods."`
	Context      string `placeholder:"NAME" help:"With --kubeconfig: the context in it."`
	Namespace    string `default:"kmend" placeholder:"NAME" help:"With --kubeconfig: the namespace of kmend and its agents (${default})."`
	Account      string `default:"kmend" placeholder:"NAME" help:"With --kubeconfig: kmend's service account (${default})."`
	Selector     string `default:"app.kubernetes.io/name=kmend,app.kubernetes.io/component=agent" placeholder:"SELECTOR" help:"With --kubeconfig: labels of the agents' pods (${default})."`
	Alertmanager string `placeholder:"URL" help:"Ask this Alertmanager, too, whether it sends to kmend and whether that works."`
	Output       string `short:"o" enum:"text,json" default:"text" help:"text or json (${default})."`
}

// Validate is bad usage.
func (c *doctorCmd) Validate() error {
	if c.Alertmanager != "" {
		u, err := url.Parse(c.Alertmanager)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" {
			return errors.New("--alertmanager wants http://HOST:PORT or https://HOST:PORT, with the path prefix if there is one")
		}
	}
	if c.Context != "" && c.Kubeconfig == "" {
		return errors.New("--context is for --kubeconfig; name that, too")
	}
	return c.remote.Validate()
}

// Run checks, prints, and fails when something is to be done.
func (c *doctorCmd) Run(ctx context.Context, out *output) error {
	tell := func(names []string) {
		fmt.Fprintf(out.Stderr, "kmend: waiting for %s\n", printable(strings.Join(names, ", ")))
	}
	report := doctor.NewReport(time.Now(), nil)
	var checks []doctor.Check
	if c.Config != "" {
		o := app.Options{Version: build.Of(version).Version, Logger: slog.New(slog.DiscardHandler)}
		report = app.Doctor(ctx, c.Config, o, tell)
	} else {
		checks = append(checks, c.server())
	}
	more, err := c.outside()
	if err != nil {
		return err
	}
	lines := append(report.Lines, doctor.Run(ctx, append(checks, more...), tell)...)
	report = doctor.NewReport(report.CheckedAt, lines)
	if c.Output == "json" {
		enc := json.NewEncoder(out.Stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(report)
	} else {
		err = doctor.Text(out.Stdout, report, out.Color)
	}
	if err == nil && !report.OK {
		err = errors.New("not everything is well")
	}
	return err
}

// server has kmend check what only it can see.
func (c *doctorCmd) server() doctor.Check {
	const limit = 45 * time.Second // the checks of a server end by themselves before that
	r := c.remote
	r.Timeout = max(r.Timeout, limit)
	return doctor.Check{Group: "server", Name: "kmend", Limit: r.Timeout + time.Second, Run: func(ctx context.Context) []doctor.Line {
		var got doctor.Report
		if err := r.get(ctx, "/api/v1/doctor", &got); err != nil {
			return []doctor.Line{doctor.Wrong("", "kubectl -n kmend port-forward svc/kmend 9790, or name it with --server URL --token-file FILE; or check its configuration itself with --config FILE", "%v", err)}
		}
		return append([]doctor.Line{doctor.Fine("", "it answers at %s", c.Server)}, got.Lines...)
	}}
}

// outside are the checks that need no kmend.
func (c *doctorCmd) outside() (checks []doctor.Check, err error) {
	if c.Kubeconfig != "" {
		rest, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(&clientcmd.ClientConfigLoadingRules{ExplicitPath: c.Kubeconfig},
			&clientcmd.ConfigOverrides{CurrentContext: c.Context}).ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("reading --kubeconfig: %w", err)
		}
		config, err := configuration(c.Config)
		if err != nil {
			config = app.DefaultConfig() // what is wrong with it is said already
		}
		l := app.Laptop{Rest: rest, Version: build.Of(version).Version, Namespace: c.Namespace, Account: c.Account, Selector: c.Selector, Config: config}
		if checks, err = l.Checks(); err != nil {
			return nil, err
		}
	}
	if c.Alertmanager != "" {
		checks = append(checks, app.AlertmanagerCheck(c.Alertmanager))
	}
	return checks, nil
}
