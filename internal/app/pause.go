package app

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// pauses is where a pause is kept.
type pauses interface {
	Pause(ctx context.Context, p store.Pause) error
	Resume(ctx context.Context) error
	Paused(ctx context.Context) (p store.Pause, ok bool, err error)
}

// stopper is /api/v1/pause: GET says whether kmend is paused, PUT pauses it and
// DELETE lets it go on. Who may approve may do both.
type stopper struct {
	log    *slog.Logger
	doors  doors
	pauses pauses
	guard  interface {
		Paused(context.Context) (string, error)
	}
}

// pauseState is the answer of all three. Why names every switch that is on, that
// of the cluster's ConfigMap among them, which no request here can turn off.
type pauseState struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"` // "Pause"
	Paused     bool         `json:"paused"`
	Why        string       `json:"why,omitempty"`
	Pause      *store.Pause `json:"pause,omitempty"` // by command
}

func (s stopper) routes(r chi.Router) {
	r.With(s.doors.readers).Get("/pause", s.state)
	r.Put("/pause", s.set)
	r.Delete("/pause", s.set)
}

func (s stopper) state(w http.ResponseWriter, r *http.Request) {
	answer := pauseState{APIVersion: incident.APIVersion, Kind: "Pause"}
	why, unknown := s.guard.Paused(r.Context())
	if answer.Why = why; unknown != nil { // nothing is done then either
		answer.Why = "whether kmend is paused is not known: " + unknown.Error()
	}
	answer.Paused = answer.Why != ""
	p, paused, err := s.pauses.Paused(r.Context())
	if err != nil {
		s.trouble(w, r, err)
		return
	}
	if paused {
		answer.Pause = &p
	}
	reply(w, http.StatusOK, answer)
}

// set pauses or resumes.
func (s stopper) set(w http.ResponseWriter, r *http.Request) {
	by := s.doors.who(r).name
	if by == "" {
		s.doors.notApprover(w, r)
		return
	}
	var err error
	if r.Method == http.MethodDelete {
		err = s.pauses.Resume(r.Context())
		s.log.Warn("kmend goes on", "by", by)
	} else {
		var reason string
		if reason, err = readReason(w, r); err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		err = s.pauses.Pause(r.Context(), store.Pause{By: by, Reason: reason, At: time.Now().UTC()})
		s.log.Warn("kmend is paused", "by", by, "reason", reason)
	}
	if err != nil {
		s.trouble(w, r, err)
		return
	}
	s.state(w, r)
}

const maxReason = 500

// readReason reads {"reason": TEXT}; no body is no reason.
func readReason(w http.ResponseWriter, r *http.Request) (string, error) {
	var body struct {
		Reason string `json:"reason"`
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxApprovalBytes))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&body); err != nil && !errors.Is(err, io.EOF) {
		return "", errors.New(`want {"reason": TEXT}: ` + err.Error())
	}
	if len(body.Reason) > maxReason {
		return "", errors.New("reason is too long; at most 500 bytes")
	}
	return strings.TrimSpace(body.Reason), nil
}

func (s stopper) trouble(w http.ResponseWriter, r *http.Request, err error) {
	trouble(s.log, w, r, err)
}

// trouble answers where the storage gave an error.
func trouble(log *slog.Logger, w http.ResponseWriter, r *http.Request, err error) {
	log.Error("request not answered", "path", r.URL.Path, "error", err)
	w.Header().Set("Retry-After", "5")
	fail(w, http.StatusServiceUnavailable, "the storage does not answer; try again later")
}
