package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
	"github.com/kmend/kmend/report/record"
)

// incidents is where the API reads.
type incidents interface {
	Get(ctx context.Context, id string) (incident.Incident, error)
	List(ctx context.Context, f store.Filter) ([]incident.Incident, error)
}

// answerer takes a person's answer to a plan.
type answerer interface {
	Approve(ctx context.Context, a incident.Approval) error
}

// api is /api/v1.
type api struct {
	log       *slog.Logger
	doors     doors
	incidents incidents
	answers   answerer
}

// list is the answer of GET /api/v1/incidents.
type list struct {
	APIVersion string              `json:"apiVersion"`
	Kind       string              `json:"kind"`
	Items      []incident.Incident `json:"items"`
}

const (
	defaultLimit     = 50
	maxApprovalBytes = 4 << 10
)

func (a api) routes(r chi.Router) {
	r.With(a.doors.readers).Get("/incidents", a.list)
	r.With(a.doors.readers).Get("/incidents/{id}", a.get)
	r.With(a.doors.readers).Get("/incidents/{id}/record", a.record)
	r.Post("/incidents/{id}/approval", a.approve)
	r.Post("/incidents/{id}/approve", a.approve) // what it was called first
}

func (a api) list(w http.ResponseWriter, r *http.Request) {
	f, err := filter(r.URL.Query())
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	items, err := a.incidents.List(r.Context(), f)
	if err != nil {
		a.trouble(w, r, err)
		return
	}
	reply(w, http.StatusOK, list{incident.APIVersion, "IncidentList", items})
}

// filter reads the query of a list.
func filter(q url.Values) (store.Filter, error) {
	f := store.Filter{Limit: defaultLimit, Before: q.Get("before"), Phase: incident.Phase(q.Get("phase"))}
	for name := range q {
		if !slices.Contains([]string{"limit", "open", "phase", "before"}, name) {
			return f, fmt.Errorf("parameter %q is not known; allowed: limit, open, phase, before", name)
		}
	}
	var err error
	if v := q.Get("limit"); v != "" {
		if f.Limit, err = strconv.Atoi(v); err != nil || f.Limit < 1 || f.Limit > store.MaxList {
			return f, fmt.Errorf("limit is %q; want a whole number from 1 to %d", v, store.MaxList)
		}
	}
	if v := q.Get("open"); v != "" {
		if f.Open, err = strconv.ParseBool(v); err != nil {
			return f, fmt.Errorf("open is %q; want true or false", v)
		}
	}
	if f.Phase != "" && !slices.Contains(incident.Phases(), f.Phase) {
		return f, fmt.Errorf("phase is %q; want one of %v", f.Phase, incident.Phases())
	}
	if f.Before != "" && !incident.IsID(f.Before) {
		return f, fmt.Errorf("before is %q; want the id of an incident, such as 20261121-221745.642-0a1b2c3d: the last one of the page before", printable(f.Before))
	}
	return f, nil
}

// printable shortens a parameter for a message.
func printable(s string) string {
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

func (a api) get(w http.ResponseWriter, r *http.Request) {
	inc, err := a.incidents.Get(r.Context(), chi.URLParam(r, "id"))
	if err != nil {
		a.trouble(w, r, err)
		return
	}
	reply(w, http.StatusOK, inc)
}

// record answers with the record of an incident: ?format=json (the default) or markdown.
func (a api) record(w http.ResponseWriter, r *http.Request) {
	format := r.URL.Query().Get("format")
	if format != "" && format != "json" && format != "markdown" {
		fail(w, http.StatusBadRequest, fmt.Sprintf("format is %q; want json or markdown", printable(format)))
		return
	}
	inc, err := a.incidents.Get(r.Context(), chi.URLParam(r, "id"))
	if err != nil {
		a.trouble(w, r, err)
		return
	}
	if format != "markdown" {
		reply(w, http.StatusOK, record.Of(inc))
		return
	}
	w.Header().Set("Content-Type", "text/markdown; charset=utf-8")
	if err := record.Of(inc).Markdown(w); err != nil {
		a.log.Debug("a record was not taken", "incident", inc.ID, "error", err)
	}
}

// answer is the body of POST /api/v1/incidents/{id}/approve.
type answer struct {
	Approve *bool  `json:"approve"`
	Plan    string `json:"plan"`
}

func (a api) approve(w http.ResponseWriter, r *http.Request) {
	who := a.doors.who(r)
	if who.name == "" {
		a.doors.notApprover(w, r)
		return
	}
	body, status, err := readAnswer(w, r)
	if err != nil {
		fail(w, status, err.Error())
		return
	}
	approval := incident.Approval{Incident: chi.URLParam(r, "id"), Plan: body.Plan, Approve: *body.Approve, By: who.name, At: time.Now().UTC(),
		Name: who.name, SlackUser: who.slackUser}
	if err := a.answers.Approve(r.Context(), approval); err != nil {
		a.trouble(w, r, err)
		return
	}
	a.log.Info("plan answered", "incident", approval.Incident, "by", who.name, "approve", approval.Approve)
	reply(w, http.StatusOK, approval)
}

func readAnswer(w http.ResponseWriter, r *http.Request) (answer, int, error) {
	var body answer
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return body, http.StatusUnsupportedMediaType, errors.New("want Content-Type application/json")
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxApprovalBytes))
	dec.DisallowUnknownFields()
	err := dec.Decode(&body)
	if err == nil {
		if _, more := dec.Token(); more != io.EOF {
			err = errors.New("something follows the JSON object")
		}
	}
	switch {
	case err != nil:
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return body, http.StatusRequestEntityTooLarge, fmt.Errorf("the body has more than %d bytes", maxApprovalBytes)
		}
		return body, http.StatusBadRequest, fmt.Errorf(`want {"approve": true|false, "plan": DIGEST}: %w`, err)
	case body.Approve == nil:
		return body, http.StatusBadRequest, errors.New("approve is missing; want true or false")
	case body.Plan == "":
		return body, http.StatusBadRequest, errors.New("plan is missing; want the digest of the plan that was shown")
	}
	return body, 0, nil
}

// trouble answers for an error of the stages: what the store refuses is the
// caller's to know, what is broken is the operator's.
func (a api) trouble(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, store.ErrNotFound):
		fail(w, http.StatusNotFound, fmt.Sprintf("no incident %q", chi.URLParam(r, "id")))
	case errors.Is(err, store.ErrNotApprover):
		fail(w, http.StatusForbidden, err.Error())
	case store.Refused(err):
		fail(w, http.StatusConflict, err.Error())
	default:
		a.log.Error("request not answered", "path", r.URL.Path, "error", err)
		w.Header().Set("Retry-After", "5")
		fail(w, http.StatusServiceUnavailable, "the storage does not answer; try again later")
	}
}
