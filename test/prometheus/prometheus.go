// Package prometheus starts a real Prometheus that scrapes one target every
// quarter of a second, for the tests of what reads from it.
//
// The program is Debian's, unpacked (not installed, so that no service starts) by
// `test/setup/debs prometheus`.
package prometheus

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/kmend/kmend/test/process"
)

// Server is a running Prometheus.
type Server struct {
	*process.Process
	URL string // http://127.0.0.1:PORT
}

// Start runs Prometheus with its data in dir and returns when it is ready. It
// scrapes http://target/metrics; target is HOST:PORT.
func Start(ctx context.Context, dir, target string) (*Server, error) {
	const program = "usr/bin/prometheus"
	unpacked, err := process.Unpacked("prometheus", program)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: 250ms, scrape_timeout: 250ms}\nscrape_configs: [{job_name: test, static_configs: [{targets: [%q]}]}]\n", target)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("writing Prometheus' configuration: %w", err)
	}
	addr, err := process.FreeAddr()
	if err != nil {
		return nil, err
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
