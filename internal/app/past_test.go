package app

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// did is a history as a func.
type did func(since time.Time) ([]store.Run, error)

func (d did) Runs(_ context.Context, since time.Time) ([]store.Run, error) { return d(since) }

func TestRunsOfTheAPI(t *testing.T) {
	token := filepath.Join(t.TempDir(), "read")
	if err := os.WriteFile(token, []byte("read\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var c Config
	c.API.TokenFile = token
	log := slog.New(slog.DiscardHandler)
	d, err := newDoors(c, log)
	if err != nil {
		t.Fatal(err)
	}
	since := time.Date(2026, 11, 21, 3, 12, 7, 5000, time.UTC)
	r := chi.NewRouter()
	r.Route("/api/v1", doings{log, d, did(func(asked time.Time) ([]store.Run, error) {
		if !asked.Equal(since) {
			return nil, errors.New("disk I/O error in /var/lib/kmend/kmend.db")
		}
		return []store.Run{{Incident: "i1", Started: since}}, nil
	})}.routes)
	s := httptest.NewServer(r)
	defer s.Close()
	for _, tt := range []struct {
		path, token string
		status      int
		want        string
	}{
		{RunsPath(since.In(time.FixedZone("x", 3600))), "read", 200, `"incident": "i1"`},
		{RunsPath(since), "", 401, "token"},
		{RunsPath(since.Add(1)), "read", 503, "the storage does not answer"},
		{"/api/v1/runs?since=yesterday", "read", 400, "since is yesterday; want a time"},
		{"/api/v1/runs", "read", 400, "want a time"},
	} {
		status, body := ask(t, "GET", s.URL+tt.path, tt.token, "")
		if status != tt.status || !strings.Contains(body, tt.want) || strings.Contains(body, "/var/lib") {
			t.Errorf("%s with %q: %d %s, want %d %s", tt.path, tt.token, status, body, tt.status, tt.want)
		}
	}
}

// What is judged as at a time in the past knows nothing that came later.
func TestHistoryAsAtATime(t *testing.T) {
	now := time.Now()
	at := now.Add(-time.Hour)
	runs := []store.Run{
		{Incident: "over", Started: at.Add(-20 * time.Minute), Ended: at.Add(-10 * time.Minute), Outcome: incident.Fixed},
		{Incident: "open then", Started: at.Add(-time.Minute), Ended: at.Add(time.Minute), Outcome: incident.Undone},
		{Incident: "later", Started: at.Add(time.Minute), Ended: at.Add(2 * time.Minute), Outcome: incident.Fixed},
	}
	got, err := asAt{did(func(since time.Time) ([]store.Run, error) {
		if back := at.Sub(since); back < 29*time.Minute || back > 31*time.Minute {
			t.Errorf("asked for %s before, want 30m", back)
		}
		return runs, nil
	}), at}.Runs(t.Context(), now.Add(-30*time.Minute))
	if err != nil || len(got) != 2 || got[0] != runs[0] {
		t.Fatalf("%+v, %v", got, err)
	}
	if r := got[1]; r.Incident != "open then" || !r.Ended.IsZero() || r.Outcome != "" {
		t.Errorf("%+v", r)
	}
	if _, err := (asAt{did(func(time.Time) ([]store.Run, error) { return nil, errors.New("away") }), at}).Runs(t.Context(), now); err == nil {
		t.Error("an error was lost")
	}
}
