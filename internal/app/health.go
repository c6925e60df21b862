package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// check is one thing that readiness is made of. A check that is not vital may
// fail and leave the server ready: it still has to take alerts and report them.
type check struct {
	name  string
	vital bool
	run   func(context.Context) error
}

type checked struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Vital  bool   `json:"vital"`
	Reason string `json:"reason,omitempty"`
}

type readiness struct {
	Ready  bool      `json:"ready"`
	Checks []checked `json:"checks"`
}

const checkLimit = 5 * time.Second

// ready answers /readyz: 200 when every vital check passes, else 503.
func ready(checks []check) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), checkLimit)
		defer cancel()
		answer, status := readiness{Ready: true}, http.StatusOK
		for _, c := range checks {
			got := checked{Name: c.name, OK: true, Vital: c.vital}
			if err := c.run(ctx); err != nil {
				got.OK, got.Reason = false, err.Error()
				if c.vital {
					answer.Ready, status = false, http.StatusServiceUnavailable
				}
			}
			answer.Checks = append(answer.Checks, got)
		}
		reply(w, status, answer)
	}
}

func healthy(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]string{"status": "ok"})
}

// writable checks that dir takes a file to the disk: not full, not read-only. It
// asks the disk once a second at most, however often it is asked itself.
func writable(dir string) func(context.Context) error {
	var (
		mu    sync.Mutex
		asked time.Time
		last  error
	)
	return func(context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		if asked.IsZero() || time.Since(asked) > time.Second {
			last, asked = touch(filepath.Join(dir, ".ready")), time.Now()
		}
		return last
	}
}

func touch(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("writing to the data directory: %w", err)
	}
	_, err = f.WriteString(time.Now().UTC().Format(time.RFC3339) + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing to the data directory: %w", err)
	}
	return nil
}
