package app

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/guard"
	"github.com/kmend/kmend/internal/store"
)

// Past is what a simulation asks a kmend that runs: what it did, and whether it is
// paused.
type Past interface {
	guard.History
	guard.Switch
}

// asAt is a history as it was at a time: what began later had not, and what ended
// later was being carried out.
type asAt struct {
	guard.History
	at time.Time
}

func (h asAt) Runs(ctx context.Context, since time.Time) (then []store.Run, err error) {
	runs, err := h.History.Runs(ctx, since.Add(-time.Since(h.at))) // as long ago as from now
	for _, r := range runs {
		if r.Started.After(h.at) {
			continue
		}
		if r.Ended.After(h.at) {
			r.Ended, r.Outcome = time.Time{}, ""
		}
		then = append(then, r)
	}
	return then, err
}

// nothingDone is the history of a kmend that never acted: a file says nothing of it.
type nothingDone struct{}

// Runs are none.
func (nothingDone) Runs(context.Context, time.Time) ([]store.Run, error) { return nil, nil }

// RunList is the answer of GET /api/v1/runs.
type RunList struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"` // "RunList"
	Items      []store.Run `json:"items"`
}

// RunsPath is where RunList is.
func RunsPath(since time.Time) string {
	return "/api/v1/runs?since=" + url.QueryEscape(since.UTC().Format(time.RFC3339Nano))
}

// doings is /api/v1/runs: the plans that are being carried out, and those that ended
// since the time given.
type doings struct {
	log     *slog.Logger
	doors   doors
	history guard.History
}

func (d doings) routes(r chi.Router) { r.With(d.doors.readers).Get("/runs", d.list) }

func (d doings) list(w http.ResponseWriter, r *http.Request) {
	since, err := time.Parse(time.RFC3339Nano, r.URL.Query().Get("since"))
	if err != nil {
		fail(w, http.StatusBadRequest, "since is "+printable(r.URL.Query().Get("since"))+"; want a time such as 2026-11-21T03:12:07Z")
		return
	}
	runs, err := d.history.Runs(r.Context(), since)
	if err != nil {
		trouble(d.log, w, r, err)
		return
	}
	reply(w, http.StatusOK, RunList{incident.APIVersion, "RunList", runs})
}
