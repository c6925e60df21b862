// Package pagerduty stands in for PagerDuty: the part of its REST API and of its
// Events API v2 that kmend uses. It checks what PagerDuty checks (credentials, the
// From header, the media type, required fields and their bounds), opens incidents
// for events, holds a rate limit, and can be away.
package pagerduty

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"
)

// What a client has to show.
const (
	Token      = "u+PagerDutyTestToken"
	RoutingKey = "0123456789abcdef0123456789abcdef"
	OtherKey   = "fedcba9876543210fedcba9876543210" // of another service
	User       = "kmend@example.com"
)

// Incident is one of PagerDuty's.
type Incident struct {
	ID, Key, Status, Title string
	Notes                  []string
	Details                map[string]any
	RoutingKey             string // of the service that an event opened it at; empty: opened otherwise
}

// Server is a running stand-in.
type Server struct {
	*httptest.Server
	mu        sync.Mutex
	incidents []*Incident
	opened    int
	calls     map[string]int
	problems  []string
	away      func(path string) int // a status to answer with, 0 for none
}

// Start starts one.
func Start() *Server {
	s := &Server{calls: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /incidents", s.rest(s.list))
	mux.HandleFunc("GET /incidents/{id}/notes", s.rest(s.notes))
	mux.HandleFunc("POST /incidents/{id}/notes", s.rest(s.note))
	mux.HandleFunc("PUT /incidents", s.rest(s.manage))
	mux.HandleFunc("GET /users", s.rest(s.users))
	mux.HandleFunc("POST /v2/enqueue", s.called(s.enqueue))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.problem("%s %s is not there", r.Method, r.URL.Path)
		http.NotFound(w, r)
	})
	s.Server = httptest.NewServer(mux)
	return s
}

// Open opens an incident as an integration of Alertmanager does, and is its id.
func (s *Server) Open(key, title string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open(key, title).ID
}

func (s *Server) open(key, title string) *Incident {
	s.opened++
	i := &Incident{ID: fmt.Sprintf("Q%013d", s.opened), Key: key, Status: "triggered", Title: title}
	s.incidents = append(s.incidents, i)
	return i
}

// Delete removes an incident, as merging it into another one does for its notes.
func (s *Server) Delete(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.incidents = slices.DeleteFunc(s.incidents, func(i *Incident) bool { return i.ID == id })
}

// Break makes requests fail with a status; nil mends it.
func (s *Server) Break(f func(path string) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = f
}

// Incidents are all there are.
func (s *Server) Incidents() (all []Incident) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.incidents {
		c := *i
		c.Notes = slices.Clone(i.Notes)
		all = append(all, c)
	}
	return all
}

// Calls is how often a path was called that ends so.
func (s *Server) Calls(method, suffix string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for call, times := range s.calls {
		if strings.HasPrefix(call, method+" ") && strings.HasSuffix(call, suffix) {
			n += times
		}
	}
	return n
}

// Problems are requests that PagerDuty would not have understood.
func (s *Server) Problems() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.problems)
}

func (s *Server) problem(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problems = append(s.problems, fmt.Sprintf(format, args...))
}

// called counts a call and is away if it is to be.
func (s *Server) called(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.calls[r.Method+" "+r.URL.Path]++
		status := 0
		if s.away != nil {
			status = s.away(r.URL.Path)
		}
		s.mu.Unlock()
		if status != 0 {
			refuse(w, status, 2000, "away")
			return
		}
		next(w, r)
	}
}

// rest is for what needs an API token.
func (s *Server) rest(next http.HandlerFunc) http.HandlerFunc {
	return s.called(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Token token="+Token {
			refuse(w, http.StatusUnauthorized, 2006, "Unauthorized")
			return
		}
		if a := r.Header.Get("Accept"); a != "application/vnd.pagerduty+json;version=2" {
			s.problem("%s %s with Accept %q", r.Method, r.URL.Path, a)
		}
		if r.Method != http.MethodGet && r.Header.Get("From") != User {
			refuse(w, http.StatusBadRequest, 2001, "Requester User Not Found")
			return
		}
		next(w, r)
	})
}

func refuse(w http.ResponseWriter, status, code int, message string) {
	reply(w, status, map[string]any{"error": map[string]any{"code": code, "message": message, "errors": []string{message}}})
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for name := range q {
		if !slices.Contains([]string{"incident_key", "statuses[]", "sort_by", "limit"}, name) {
			s.problem("parameter %q of /incidents", name)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := []map[string]any{}
	for _, i := range slices.Backward(s.incidents) {
		if i.Key == q.Get("incident_key") && slices.Contains(q["statuses[]"], i.Status) {
			found = append(found, map[string]any{"id": i.ID, "type": "incident", "status": i.Status, "incident_key": i.Key, "title": i.Title})
		}
	}
	reply(w, http.StatusOK, map[string]any{"incidents": found, "limit": 1, "offset": 0, "more": false})
}

// users lists those whose name or e-mail address has the query in it: there is one.
func (s *Server) users(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for name := range q {
		if !slices.Contains([]string{"query", "limit"}, name) {
			s.problem("parameter %q of /users", name)
		}
	}
	found := []map[string]any{}
	if strings.Contains(User, q.Get("query")) {
		found = append(found, map[string]any{"id": "PUSER01", "type": "user", "name": "kmend", "email": User})
	}
	reply(w, http.StatusOK, map[string]any{"users": found, "limit": 25, "offset": 0, "more": false})
}

// incident looks one up; the caller holds mu.
func (s *Server) incident(w http.ResponseWriter, r *http.Request) *Incident {
	for _, i := range s.incidents {
		if i.ID == r.PathValue("id") {
			return i
		}
	}
	refuse(w, http.StatusNotFound, 2100, "Not Found")
	return nil
}

func (s *Server) notes(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.incident(w, r)
	if i == nil {
		return
	}
	list := []map[string]any{}
	for n, text := range slices.Backward(i.Notes) { // the newest first
		list = append(list, map[string]any{"id": fmt.Sprint("N", n), "content": text, "created_at": time.Now().UTC().Format(time.RFC3339)})
	}
	reply(w, http.StatusOK, map[string]any{"notes": list})
}

func (s *Server) note(w http.ResponseWriter, r *http.Request) {
	var body struct{ Note struct{ Content string } }
	err := json.NewDecoder(r.Body).Decode(&body)
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.incident(w, r)
	switch {
	case i == nil:
	case err != nil || body.Note.Content == "" || len(body.Note.Content) > 65535:
		s.problems = append(s.problems, fmt.Sprintf("a note of %d bytes, %v", len(body.Note.Content), err))
		refuse(w, http.StatusBadRequest, 2001, "Invalid Input Provided")
	default:
		i.Notes = append(i.Notes, body.Note.Content)
		reply(w, http.StatusCreated, map[string]any{"note": map[string]any{"id": fmt.Sprint("N", len(i.Notes)-1), "content": body.Note.Content}})
	}
}

// manage sets the status of incidents.
func (s *Server) manage(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Incidents []struct{ ID, Type, Status string }
	}
	err := json.NewDecoder(r.Body).Decode(&body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || len(body.Incidents) != 1 || body.Incidents[0].Type != "incident" || !slices.Contains([]string{"acknowledged", "resolved"}, body.Incidents[0].Status) {
		s.problems = append(s.problems, fmt.Sprintf("managing %+v, %v", body.Incidents, err))
		refuse(w, http.StatusBadRequest, 2001, "Invalid Input Provided")
		return
	}
	at := slices.IndexFunc(s.incidents, func(i *Incident) bool { return i.ID == body.Incidents[0].ID })
	if at < 0 {
		refuse(w, http.StatusNotFound, 2100, "Not Found")
		return
	}
	s.incidents[at].Status = body.Incidents[0].Status
	reply(w, http.StatusOK, map[string]any{"incidents": []any{map[string]any{"id": s.incidents[at].ID, "status": s.incidents[at].Status}}})
}

// event is the body of the Events API v2.
type event struct {
	RoutingKey string `json:"routing_key"`
	Action     string `json:"event_action"`
	DedupKey   string `json:"dedup_key"`
	Payload    *struct {
		Summary, Source, Severity, Timestamp string
		Details                              map[string]any `json:"custom_details"`
	} `json:"payload"`
}

// wrong is what PagerDuty would say about an event, "" where it takes it.
func (e event) wrong() string {
	switch {
	case len(e.RoutingKey) != 32:
		return "'routing_key' must have 32 characters"
	case !slices.Contains([]string{"trigger", "acknowledge", "resolve"}, e.Action):
		return "'event_action' is invalid"
	case len(e.DedupKey) > 255 || e.DedupKey == "" && e.Action != "trigger":
		return "'dedup_key' is missing or too long"
	case e.Action != "trigger":
		return ""
	case e.Payload == nil || e.Payload.Summary == "" || len(e.Payload.Summary) > 1024:
		return "'payload.summary' is missing or too long"
	case e.Payload.Source == "":
		return "'payload.source' is missing"
	case !slices.Contains([]string{"critical", "error", "warning", "info"}, e.Payload.Severity):
		return "'payload.severity' is invalid"
	}
	return ""
}

func (s *Server) enqueue(w http.ResponseWriter, r *http.Request) {
	var e event
	err := json.NewDecoder(r.Body).Decode(&e)
	why := e.wrong()
	if err != nil {
		why = err.Error()
	}
	if why != "" {
		s.problem("event: %s", why)
		reply(w, http.StatusBadRequest, map[string]any{"status": "invalid event", "message": "Event object is invalid", "errors": []string{why}})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.RoutingKey != RoutingKey && e.RoutingKey != OtherKey {
		reply(w, http.StatusBadRequest, map[string]any{"status": "invalid event", "message": "Event object is invalid", "errors": []string{"Invalid routing key"}})
		return
	}
	at := slices.IndexFunc(s.incidents, func(i *Incident) bool {
		return i.Key == e.DedupKey && i.RoutingKey == e.RoutingKey && i.Status != "resolved"
	})
	switch {
	case at < 0 && e.Action == "trigger":
		i := s.open(e.DedupKey, e.Payload.Summary)
		i.Details, i.RoutingKey = e.Payload.Details, e.RoutingKey
	case at >= 0 && e.Action == "resolve":
		s.incidents[at].Status = "resolved"
	}
	reply(w, http.StatusAccepted, map[string]any{"status": "success", "message": "Event processed", "dedup_key": e.DedupKey})
}
