package llm

import (
	"fmt"
	"net/http"
	"strings"
)

// Unlist makes the server one that knows no list of models, as some local ones.
func (s *Server) Unlist() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unlisted = true
}

// models is the model that a request asks about, "" for all of them.
func (s *Server) models(r *http.Request) (name string, ok bool) {
	rest, ok := strings.CutPrefix(r.URL.Path, "/v1/models")
	return strings.TrimPrefix(rest, "/"), ok && r.Method == http.MethodGet
}

// list answers GET /v1/models and /v1/models/NAME, which both providers have.
func (s *Server) list(w http.ResponseWriter, r *http.Request, name, key string, fault Fault) {
	s.mu.Lock()
	unlisted := s.unlisted
	s.mu.Unlock()
	var why *wrong
	switch {
	case s.api.path == "/v1/messages" && r.Header.Get("Anthropic-Version") != "2023-06-01":
		why = bad("", "anthropic-version: %q is not a valid version", r.Header.Get("Anthropic-Version"))
	case s.api.key(r.Header) != key:
		why = &wrong{http.StatusUnauthorized, "authentication_error", "invalid_api_key", "", "Incorrect API key provided: " + s.api.key(r.Header)}
	case fault.Status != 0:
		why = &wrong{fault.Status, kinds[fault.Status], kinds[fault.Status], "", fmt.Sprintf("%s asked for %q", key, name)}
	case unlisted, name != "" && name != Model:
		why = &wrong{http.StatusNotFound, "not_found_error", "model_not_found", "model", "model: " + name}
	}
	if why != nil {
		send(w, why.status, fault.Body, s.api.wrong(*why))
		return
	}
	model := map[string]any{"id": Model, "object": "model", "type": "model"}
	if name != "" {
		send(w, http.StatusOK, fault.Body, model)
		return
	}
	send(w, http.StatusOK, fault.Body, map[string]any{"object": "list", "data": []any{model}})
}
