package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/kmend/kmend/incident"
)

// Ready asks /readyz.
func (s *Server) Ready(ctx context.Context) error {
	_, err := s.get(ctx, "/readyz")
	return err
}

// Incidents are the latest 200 incidents, latest first.
func (s *Server) Incidents(ctx context.Context) ([]incident.Incident, error) {
	return s.list(ctx, "limit=200")
}

// Open are incidents that are not closed, at most 200.
func (s *Server) Open(ctx context.Context) ([]incident.Incident, error) {
	return s.list(ctx, "limit=200&open=true")
}

func (s *Server) list(ctx context.Context, query string) ([]incident.Incident, error) {
	body, err := s.get(ctx, "/api/v1/incidents?"+query)
	if err != nil {
		return nil, err
	}
	var list struct {
		APIVersion string              `json:"apiVersion"`
		Kind       string              `json:"kind"`
		Items      []incident.Incident `json:"items"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("reading the list of incidents: %w", err)
	}
	if list.APIVersion != incident.APIVersion || list.Kind != "IncidentList" {
		return nil, fmt.Errorf("reading the list of incidents: it is %s %s", list.APIVersion, list.Kind)
	}
	return list.Items, nil
}

// Incident reads one incident.
func (s *Server) Incident(ctx context.Context, id string) (incident.Incident, error) {
	var inc incident.Incident
	body, err := s.get(ctx, "/api/v1/incidents/"+id)
	if err != nil {
		return inc, err
	}
	if err := json.Unmarshal(body, &inc); err != nil {
		return inc, fmt.Errorf("reading incident %s: %w", id, err)
	}
	return inc, nil
}

// Wait polls until there is an incident that want accepts, and returns it in
// full. want sees each incident of the list.
func (s *Server) Wait(ctx context.Context, want func(incident.Incident) bool) (incident.Incident, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last string
	var ended <-chan struct{}
	if s.Process != nil {
		ended = s.Done()
	}
	for {
		list, err := s.Incidents(ctx)
		for _, inc := range list {
			if want(inc) {
				return s.Incident(ctx, inc.ID)
			}
		}
		if err == nil {
			last = summary(list)
		} else if ctx.Err() == nil {
			last = err.Error()
		}
		select {
		case <-tick.C:
		case <-ended:
			return incident.Incident{}, s.Ended()
		case <-ctx.Done():
			return incident.Incident{}, fmt.Errorf("waiting for an incident: %w; last seen: %s", context.Cause(ctx), last)
		}
	}
}

func summary(list []incident.Incident) string {
	if len(list) == 0 {
		return "no incident at all"
	}
	var words []string
	for _, i := range list {
		words = append(words, fmt.Sprintf("%s %s %s %s %q", i.ID, i.Target, i.Phase, i.Outcome, i.Reason))
	}
	return strings.Join(words, "; ")
}

// Deliver posts a notification to the webhook, as Alertmanager does. It returns
// the HTTP status and the answer's body.
func (s *Server) Deliver(ctx context.Context, body []byte) (status int, answer string, err error) {
	token, err := os.ReadFile(s.WebhookTokenFile())
	if err != nil {
		return 0, "", fmt.Errorf("reading the webhook's token: %w", err)
	}
	return s.Post(ctx, "/webhook/alertmanager", strings.TrimSpace(string(token)), body)
}

// Post sends body with a bearer token; an empty token sends none.
func (s *Server) Post(ctx context.Context, path, token string, body []byte) (status int, answer string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+path, bytes.NewReader(body))
	if err != nil {
		return 0, "", fmt.Errorf("posting to kmend: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := s.http.Do(req)
	if err != nil {
		return 0, "", fmt.Errorf("posting to kmend: %w", err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return 0, "", fmt.Errorf("posting to kmend: %w", err)
	}
	return res.StatusCode, string(b), nil
}

func (s *Server) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path, nil)
	if err != nil {
		return nil, fmt.Errorf("asking kmend: %w", err)
	}
	token, err := os.ReadFile(s.ReadTokenFile())
	if err != nil {
		return nil, fmt.Errorf("asking kmend: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	res, err := s.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking kmend: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return nil, fmt.Errorf("asking kmend: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking kmend: GET %s: %s: %s", path, res.Status, bytes.TrimSpace(body))
	}
	return body, nil
}

// Run runs the kmend program and returns its standard output; an exit status
// other than 0 is an *exec.ExitError whose Stderr is in the message.
func Run(ctx context.Context, binary string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, binary, args...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(out), fmt.Errorf("kmend %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(exit.Stderr))
	}
	if err != nil {
		return string(out), fmt.Errorf("kmend %s: %w", strings.Join(args, " "), err)
	}
	return string(out), nil
}
