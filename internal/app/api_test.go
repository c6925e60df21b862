package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// answers is the responder as a func.
type answers func(incident.Approval) error

func (f answers) Approve(_ context.Context, a incident.Approval) error { return f(a) }

// shelf is the store: it has incident "i1" and fails on "broken".
type shelf struct{ asked *store.Filter }

func (shelf) Get(_ context.Context, id string) (incident.Incident, error) {
	switch id {
	case "i1":
		return incident.Incident{ID: id}, nil
	case "broken":
		return incident.Incident{}, errors.New("disk I/O error in /var/lib/kmend/kmend.db")
	}
	return incident.Incident{}, fmt.Errorf("reading incident %q: %w", id, store.ErrNotFound)
}

func (s shelf) List(_ context.Context, f store.Filter) ([]incident.Incident, error) {
	*s.asked = f
	return []incident.Incident{{ID: "i1"}}, nil
}

// counter serves the API with a reader's token "read" and approvers ada ("ada!") and bob ("bob!").
func counter(t *testing.T, reader bool, approve answers) (*httptest.Server, *store.Filter) {
	t.Helper()
	dir := t.TempDir()
	file := func(name, value string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	c := Config{Approvers: []Approver{{Name: "ada", TokenFile: file("ada", "ada!"), SlackUser: "U1"}, {Name: "bob", TokenFile: file("bob", "bob!")}}}
	if reader {
		c.API.TokenFile = file("read", "read")
	}
	log := slog.New(slog.DiscardHandler)
	d, err := newDoors(c, log)
	if err != nil {
		t.Fatal(err)
	}
	asked := new(store.Filter)
	r := chi.NewRouter()
	r.Route("/api/v1", api{log, d, shelf{asked}, approve}.routes)
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	return s, asked
}

// ask sends a request and returns the status and the body.
func ask(t *testing.T, method, url, token, body string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var said struct{ Error string }
	if resp.StatusCode >= 400 && !strings.HasSuffix(url, "/readyz") && (json.Unmarshal(raw, &said) != nil || said.Error == "") {
		t.Fatalf("%s %s: status %d without a JSON error: %q", method, url, resp.StatusCode, raw)
	}
	if resp.StatusCode == http.StatusUnauthorized && resp.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("%s %s: 401 without WWW-Authenticate", method, url)
	}
	return resp.StatusCode, string(raw)
}

func TestReading(t *testing.T) {
	closed, asked := counter(t, true, nil)
	open, _ := counter(t, false, nil)
	for name, c := range map[string]struct {
		server *httptest.Server
		path   string
		token  string
		host   string
		status int
		says   string
	}{
		"reader":                {closed, "/i1", "read", "", 200, `"id": "i1"`},
		"approver":              {closed, "/i1", "bob!", "", 200, `"id": "i1"`},
		"list":                  {closed, "", "read", "", 200, `"kind": "IncidentList"`},
		"record":                {closed, "/i1/record", "read", "", 200, `"kind": "IncidentRecord"`},
		"record, markdown":      {closed, "/i1/record?format=markdown", "read", "", 200, "# Incident `i1`"},
		"record, format":        {closed, "/i1/record?format=html", "read", "", 400, "want json or markdown"},
		"record, no token":      {closed, "/i1/record", "", "", 401, ""},
		"record of unknown":     {closed, "/i2/record", "read", "", 404, `no incident \"i2\"`},
		"no token":              {closed, "/i1", "", "", 401, "--token-file"},
		"wrong token":           {closed, "/i1", "reed", "", 401, "missing or wrong token"},
		"list, no token":        {closed, "", "", "", 401, ""},
		"unknown":               {closed, "/i2", "read", "", 404, `no incident \"i2\"`},
		"storage trouble":       {closed, "/broken", "read", "", 503, "try again later"},
		"limit 0":               {closed, "?limit=0", "read", "", 400, "from 1 to 500"},
		"limit text":            {closed, "?limit=x", "read", "", 400, "from 1 to 500"},
		"open":                  {closed, "?open=perhaps", "read", "", 400, "true or false"},
		"phase":                 {closed, "?phase=done", "read", "", 400, "awaiting_approval"},
		"before text":           {closed, "?before=nope", "read", "", 400, "want the id of an incident"},
		"before an injection":   {closed, "?before=20261121-221745.642-0a1b2c3d%27--", "read", "", 400, "want the id of an incident"},
		"parameter":             {closed, "?limt=5", "read", "", 400, "allowed: limit, open, phase, before"},
		"on this machine":       {open, "/i1", "", "", 200, "i1"},
		"by name":               {open, "/i1", "", "localhost", 200, "i1"},
		"DNS rebinding":         {open, "/i1", "", "evil.example:80", 403, "api.tokenFile"},
		"approver on any name":  {open, "/i1", "ada!", "kmend.example", 200, "i1"},
		"rebinding with prefix": {open, "", "", "127.0.0.1.evil.example", 403, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var header []string
			if c.host != "" {
				header = []string{"Host", c.host}
			}
			status, body := ask(t, "GET", c.server.URL+"/api/v1/incidents"+c.path, c.token, "", header...)
			if status != c.status || !strings.Contains(body, c.says) {
				t.Errorf("status %d %s; want %d with %q", status, body, c.status, c.says)
			}
			if strings.Contains(body, "kmend.db") {
				t.Errorf("the answer tells internals: %s", body)
			}
		})
	}
	ask(t, "GET", closed.URL+"/api/v1/incidents?open=true&limit=7&phase=planned&before=20261121-221745.642-0a1b2c3d", "read", "")
	if want := (store.Filter{Open: true, Limit: 7, Phase: incident.Planned, Before: "20261121-221745.642-0a1b2c3d"}); *asked != want {
		t.Errorf("asked the store for %+v; want %+v", *asked, want)
	}
	ask(t, "GET", closed.URL+"/api/v1/incidents", "read", "")
	if want := (store.Filter{Limit: 50}); *asked != want {
		t.Errorf("asked the store for %+v; want %+v", *asked, want)
	}
}

func TestApproving(t *testing.T) {
	var got []incident.Approval
	s, _ := counter(t, true, func(a incident.Approval) error {
		got = append(got, a)
		switch a.Plan {
		case "changed":
			return fmt.Errorf("answering: %w", store.ErrPlanChanged)
		case "broken":
			return errors.New("disk full")
		}
		return nil
	})
	url := s.URL + "/api/v1/incidents/i1/approve"
	for name, c := range map[string]struct {
		token, body, contentType string
		status                   int
		says                     string
	}{
		"approve":          {"ada!", `{"approve":true,"plan":"d1"}`, "", 200, `"by": "ada"`},
		"deny":             {"bob!", `{"approve":false,"plan":"d1"}`, "", 200, `"approve": false`},
		"reader":           {"read", `{"approve":true,"plan":"d1"}`, "", 403, "may read and not approve"},
		"nobody":           {"", `{"approve":true,"plan":"d1"}`, "", 401, "an approver's"},
		"wrong":            {"eve!", `{"approve":true,"plan":"d1"}`, "", 401, "an approver's"},
		"another plan":     {"ada!", `{"approve":true,"plan":"changed"}`, "", 409, "another plan"},
		"storage":          {"ada!", `{"approve":true,"plan":"broken"}`, "", 503, "try again later"},
		"no plan":          {"ada!", `{"approve":true}`, "", 400, "plan is missing"},
		"no answer":        {"ada!", `{"plan":"d1"}`, "", 400, "approve is missing"},
		"who is not asked": {"ada!", `{"approve":true,"plan":"d1","by":"bob"}`, "", 400, `unknown field \"by\"`},
		"not JSON":         {"ada!", `approve`, "", 400, "want {"},
		"two answers":      {"ada!", `{"approve":true,"plan":"d1"}{}`, "", 400, "follows"},
		"large":            {"ada!", `{"approve":true,"plan":"` + strings.Repeat("d", 5000) + `"}`, "", 413, "4096"},
		"form":             {"ada!", `approve=true`, "application/x-www-form-urlencoded", 415, "application/json"},
	} {
		t.Run(name, func(t *testing.T) {
			var header []string
			if c.contentType != "" {
				header = []string{"Content-Type", c.contentType}
			}
			before := len(got)
			status, body := ask(t, "POST", url, c.token, c.body, header...)
			if status != c.status || !strings.Contains(body, c.says) {
				t.Errorf("status %d %s; want %d with %q", status, body, c.status, c.says)
			}
			if asked := len(got) > before; asked != (c.status == 200 || c.status == 409 || c.status == 503) {
				t.Errorf("the responder was asked: %v", asked)
			}
			if strings.Contains(body, "disk full") {
				t.Errorf("the answer tells internals: %s", body)
			}
		})
	}
	for _, a := range got {
		if a.Incident != "i1" || a.At.IsZero() || a.Approve && a.By != "ada" || !a.Approve && a.By != "bob" {
			t.Errorf("approval %+v", a)
		}
	}
}

func TestNobodyMayApprove(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	r := chi.NewRouter()
	r.Route("/api/v1", api{log, doors{log: log}, shelf{new(store.Filter)}, answers(func(incident.Approval) error {
		t.Error("asked the responder")
		return nil
	})}.routes)
	s := httptest.NewServer(r)
	defer s.Close()
	if status, body := ask(t, "POST", s.URL+"/api/v1/incidents/i1/approve", "", `{"approve":true,"plan":"d"}`); status != 403 || !strings.Contains(body, "lists no approvers") {
		t.Errorf("status %d %s; want 403", status, body)
	}
}
