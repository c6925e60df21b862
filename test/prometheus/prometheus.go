// Package prometheus starts a real Prometheus that scrapes one target every
// quarter of a second, for the tests of what reads from it.
//
// The program is Debian's, unpacked (not installed, so that no service starts) by
// `test/setup/debs prometheus`.
package prometheus

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/kmend/kmend/test/process"
)

// Server is a running Prometheus.
type Server struct {
	*process.Process
	URL string // http://127.0.0.1:PORT
}

// Options of a Server.
type Options struct {
	Dir          string        // where its configuration and data go; it must exist
	Addr         string        // HOST:PORT to listen on; empty: a free one
	Target       string        // HOST:PORT to scrape
	Every        time.Duration // that it is scraped, and how long that may take; default 250 ms
	Rules        string        // a rules file's text; empty: none
	Alertmanager string        // HOST:PORT that is told of alerts; empty: none
	// History is what there is to know of the time before, as OpenMetrics with
	// timestamps; empty: nothing.
	History string
}

// Start runs Prometheus with its data in dir and returns when it is ready. It
// scrapes http://target/metrics; target is HOST:PORT.
func Start(ctx context.Context, dir, target string) (*Server, error) {
	return StartWith(ctx, Options{Dir: dir, Target: target})
}

// StartWith runs Prometheus, with rules that it evaluates four times a second.
func StartWith(ctx context.Context, o Options) (*Server, error) {
	const program = "usr/bin/prometheus"
	unpacked, err := process.Unpacked("prometheus", program)
	if err != nil {
		return nil, err
	}
	dir := o.Dir
	config := filepath.Join(dir, "prometheus.yml")
	if err := o.write(config); err != nil {
		return nil, fmt.Errorf("writing Prometheus' configuration: %w", err)
	}
	if err := o.remember(ctx, filepath.Join(unpacked, "usr/bin/promtool")); err != nil {
		return nil, fmt.Errorf("making Prometheus' past: %w", err)
	}
	addr := o.Addr
	if addr == "" {
		if addr, err = process.FreeAddr(); err != nil {
			return nil, err
		}
	}
	p, err := process.Start(process.Spec{Name: "prometheus", Path: filepath.Join(unpacked, program), Dir: dir, Args: []string{
		"--config.file=" + config, "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + addr}})
	if err != nil {
		return nil, err
	}
	s := &Server{p, "http://" + addr}
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, fmt.Errorf("not ready after 30 s"))
	defer cancel()
	if err := p.WaitFor(ctx, s.ready); err != nil {
		_ = p.Kill()
		return nil, err
	}
	return s, nil
}

func (s *Server) ready(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/-/ready", nil)
	if err != nil {
		return err
	}
	res, err := process.HTTPClient().Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET /-/ready: %s", res.Status)
	}
	return nil
}

// write writes the configuration and the rules.
func (o Options) write(config string) error {
	text := fmt.Sprintf("global: {scrape_interval: %s, scrape_timeout: %[1]s, evaluation_interval: 250ms}\nscrape_configs: [{job_name: test, honor_labels: true, static_configs: [{targets: [%q]}]}]\n", cmp.Or(o.Every, 250*time.Millisecond), o.Target)
	if o.Alertmanager != "" {
		text += fmt.Sprintf("alerting: {alertmanagers: [{static_configs: [{targets: [%q]}]}]}\n", o.Alertmanager)
	}
	if o.Rules != "" {
		text += "rule_files: [rules.yml]\n"
		if err := os.WriteFile(filepath.Join(o.Dir, "rules.yml"), []byte(o.Rules), 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(config, []byte(text), 0o600)
}

// remember writes the blocks of the past.
func (o Options) remember(ctx context.Context, promtool string) error {
	if o.History == "" {
		return nil
	}
	text := filepath.Join(o.Dir, "history.om")
	if err := os.WriteFile(text, []byte(o.History), 0o600); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, promtool, "tsdb", "create-blocks-from", "openmetrics", text, filepath.Join(o.Dir, "data")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("promtool: %w: %s", err, out)
	}
	return nil
}
