package loki

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/kmend/kmend/test/logstore"
	"github.com/kmend/kmend/test/process"
)

// ErrNotBuilt: the real Loki is not there. Building it takes long, so the tests
// go on with the stand-in alone.
var ErrNotBuilt = errors.New("the real Loki is not built; build it with: test/setup/loki")

// Real is a running Loki.
type Real struct {
	*process.Process
	URL string
}

// config is one process with its data in a folder. What is pushed is found at once.
const config = `auth_enabled: false
server: {http_listen_address: 127.0.0.1, http_listen_port: %s, grpc_listen_address: 127.0.0.1, grpc_listen_port: %s, log_level: warn}
common:
  path_prefix: %s
  replication_factor: 1
  ring: {instance_addr: 127.0.0.1, kvstore: {store: inmemory}}
  storage: {filesystem: {chunks_directory: %[3]s/chunks, rules_directory: %[3]s/rules}}
schema_config:
  configs: [{from: 2024-01-01, store: tsdb, object_store: filesystem, schema: v13, index: {prefix: index_, period: 24h}}]
ingester: {lifecycler: {min_ready_duration: 0s}}
frontend: {address: 127.0.0.1}
limits_config: {reject_old_samples: false}
analytics: {reporting_enabled: false}
`

// StartReal runs Loki with its data in dir and returns when it is ready.
func StartReal(ctx context.Context, dir string) (*Real, error) {
	cache, err := process.Cache()
	if err != nil {
		return nil, err
	}
	program := filepath.Join(cache, "bin", "loki-v3.7.8")
	if _, err := os.Stat(program); err != nil {
		return nil, ErrNotBuilt
	}
	var ports [2]string
	for i := range ports {
		addr, err := process.FreeAddr()
		if err != nil {
			return nil, err
		}
		ports[i] = addr[len("127.0.0.1:"):]
	}
	path := filepath.Join(dir, "loki.yaml")
	if err := os.WriteFile(path, fmt.Appendf(nil, config, ports[0], ports[1], dir), 0o600); err != nil {
		return nil, fmt.Errorf("writing Loki's configuration: %w", err)
	}
	p, err := process.Start(process.Spec{Name: "loki", Path: program, Dir: dir, Args: []string{"-config.file=" + path}})
	if err != nil {
		return nil, err
	}
	r := &Real{p, "http://127.0.0.1:" + ports[0]}
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("not ready after 2 min"))
	defer cancel()
	if err := p.WaitFor(ctx, func(ctx context.Context) error { return r.call(ctx, http.MethodGet, "/ready", nil, http.StatusOK) }); err != nil {
		_ = p.Kill()
		return nil, err
	}
	return r, nil
}

// Push adds lines and returns when Loki has them.
func (r *Real) Push(ctx context.Context, entries ...logstore.Entry) error {
	type stream struct {
		Stream map[string]string `json:"stream"`
		Values [][2]string       `json:"values"`
	}
	var all []stream
	for _, e := range entries {
		all = append(all, stream{e.Labels, [][2]string{{strconv.FormatInt(e.At.UnixNano(), 10), e.Line}}})
	}
	body, err := json.Marshal(map[string]any{"streams": all})
	if err != nil {
		return err
	}
	return r.call(ctx, http.MethodPost, "/loki/api/v1/push", body, http.StatusNoContent)
}

func (r *Real) call(ctx context.Context, method, path string, body []byte, want int) error {
	req, err := http.NewRequestWithContext(ctx, method, r.URL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := process.HTTPClient().Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != want {
		b, _ := io.ReadAll(io.LimitReader(res.Body, 500))
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, b)
	}
	return nil
}
