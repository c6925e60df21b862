// Package alertmanager starts a real Alertmanager whose receiver is kmend, and
// fires alerts through its API, for the acceptance tests, the cluster test, the
// demo and the benchmarks.
//
// The program is Debian's prometheus-alertmanager, unpacked (not installed, so
// that no service starts) by `test/setup/debs prometheus-alertmanager`. It
// listens on a free port of the loopback, keeps its data in a folder of its own
// and talks to no peers.
package alertmanager

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/kmend/kmend/test/process"
)

// Options of a Server. The zero value of a field that has a default means the default.
type Options struct {
	// Dir is where configuration and data go. It must exist; the caller removes it.
	Dir string
	// WebhookURL is where notifications are sent.
	WebhookURL string
	// TokenFile holds the bearer token that is sent along; empty sends none.
	TokenFile string
	// GroupBy are the labels that make a group. Default: alertname and cgroup.
	GroupBy []string
	// GroupWait is how long a new group waits for more alerts. Default 1 ms.
	GroupWait time.Duration
	// GroupInterval is the time between two notifications of a group whose alerts
	// changed. Alertmanager also gives up a failing delivery after the larger of
	// this and 10 s, and begins it anew. Default 1 s.
	GroupInterval time.Duration
	// RepeatInterval is the time between two notifications of an unchanged group. Default 4 h.
	RepeatInterval time.Duration
	// Log gets what Alertmanager logs; nil for none.
	Log io.Writer
}

// DefaultOptions are the defaults the fields document.
func DefaultOptions() Options {
	return Options{
		GroupBy:        []string{"alertname", "cgroup"},
		GroupWait:      time.Millisecond,
		GroupInterval:  time.Second,
		RepeatInterval: 4 * time.Hour,
	}
}

func (o Options) withDefaults() Options {
	d := DefaultOptions()
	if o.GroupBy == nil {
		o.GroupBy = d.GroupBy
	}
	if o.GroupWait == 0 {
		o.GroupWait = d.GroupWait
	}
	if o.GroupInterval == 0 {
		o.GroupInterval = d.GroupInterval
	}
	if o.RepeatInterval == 0 {
		o.RepeatInterval = d.RepeatInterval
	}
	return o
}

func (o Options) validate() error {
	switch {
	case o.Dir == "":
		return fmt.Errorf("alertmanager: Options.Dir is empty; name an existing folder")
	case o.WebhookURL == "":
		return fmt.Errorf("alertmanager: Options.WebhookURL is empty; name kmend's /webhook/alertmanager")
	}
	return nil
}

// Server is a running Alertmanager.
type Server struct {
	*process.Process
	URL  string // http://127.0.0.1:PORT
	http *http.Client
}

// Start runs Alertmanager and returns when it is ready.
func Start(ctx context.Context, o Options) (*Server, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	dir, err := unpacked()
	if err != nil {
		return nil, err
	}
	config := filepath.Join(o.Dir, "alertmanager.yml")
	if err := os.WriteFile(config, []byte(o.withDefaults().yaml()), 0o600); err != nil {
		return nil, fmt.Errorf("writing Alertmanager's configuration: %w", err)
	}
	addr, err := process.FreeAddr()
	if err != nil {
		return nil, err
	}
	path, args := command(dir, []string{
		"--config.file=" + config,
		"--storage.path=" + filepath.Join(o.Dir, "data"),
		"--web.listen-address=" + addr,
		"--cluster.listen-address=", // no peers
	})
	p, err := process.Start(process.Spec{Name: "alertmanager", Path: path, Args: args, Dir: o.Dir, Log: o.Log})
	if err != nil {
		return nil, err
	}
	s := &Server{Process: p, URL: "http://" + addr, http: process.HTTPClient()}
	ctx, cancel := context.WithTimeoutCause(ctx, 20*time.Second, fmt.Errorf("not ready after 20 s"))
	defer cancel()
	if err := p.WaitFor(ctx, s.ready); err != nil {
		_ = p.Kill()
		return nil, err
	}
	return s, nil
}

// Stop ends Alertmanager and waits for it.
func (s *Server) Stop() error { return s.Process.Stop(10 * time.Second) }

func (s *Server) ready(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/-/ready", nil)
	if err != nil {
		return err
	}
	res, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET /-/ready: %s", res.Status)
	}
	return nil
}
