// Package jaeger starts a real Jaeger, which takes traces by OTLP and answers
// queries, for the tests of what reads from it.
//
// The program is Jaeger's all-in-one, built by `test/setup/jaeger`. It keeps what it
// is sent in memory and listens on free ports of the loopback.
package jaeger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/kmend/kmend/test/process"
)

// version is that of test/setup/jaeger.
const version = "1.76.0"

// Server is a running Jaeger.
type Server struct {
	*process.Process
	URL  string // of its query API: http://127.0.0.1:PORT
	OTLP string // 127.0.0.1:PORT, over HTTP
}

// Start runs Jaeger and returns when it is ready.
func Start(ctx context.Context) (*Server, error) {
	cache, err := process.Cache()
	if err != nil {
		return nil, err
	}
	program := filepath.Join(cache, "jaeger", version, "jaeger-all-in-one")
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("looking for Jaeger: %w; build it with: test/setup/jaeger", err)
	}
	query, err := process.FreeAddr()
	if err != nil {
		return nil, err
	}
	otlp, err := process.FreeAddr()
	if err != nil {
		return nil, err
	}
	args := []string{"--query.http-server.host-port=" + query, "--collector.otlp.http.host-port=" + otlp, "--memory.max-traces=20000", "--log-level=warn"}
	for _, unused := range []string{"admin.http", "collector.grpc-server", "collector.http-server", "collector.otlp.grpc", "query.grpc-server"} {
		args = append(args, "--"+unused+".host-port=127.0.0.1:0")
	}
	p, err := process.Start(process.Spec{Name: "jaeger", Path: program, Args: args})
	if err != nil {
		return nil, err
	}
	s := &Server{p, "http://" + query, otlp}
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("not ready after 30 s"))
	defer cancel()
	if err := p.WaitFor(ctx, s.ready); err != nil {
		_ = p.Kill()
		return nil, err
	}
	return s, nil
}

func (s *Server) ready(ctx context.Context) error {
	for _, url := range []string{s.URL + "/api/services", "http://" + s.OTLP + "/"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		res, err := process.HTTPClient().Do(req)
		if err != nil {
			return err
		}
		_ = res.Body.Close()
	}
	return nil
}

// Slow counts the traces in which a span of the service took at least that long,
// of those since a time.
func (s *Server) Slow(ctx context.Context, service string, since time.Time, least time.Duration) (int, error) {
	query := url.Values{"service": {service}, "limit": {"100"}, "minDuration": {least.String()},
		"start": {strconv.FormatInt(since.UnixMicro(), 10)}, "end": {strconv.FormatInt(time.Now().UnixMicro(), 10)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/api/traces?"+query.Encode(), nil)
	if err != nil {
		return 0, err
	}
	res, err := process.HTTPClient().Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	var answer struct {
		Data []struct{} `json:"data"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return 0, fmt.Errorf("counting traces: %s: %w", res.Status, err)
	}
	return len(answer.Data), nil
}

// Stop ends Jaeger and waits for it. It has nothing to save, and would wait for its
// clients.
func (s *Server) Stop() error { return s.Kill() }
