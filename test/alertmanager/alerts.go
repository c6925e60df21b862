package alertmanager

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Alert is one alert as Alertmanager's API v2 takes it.
type Alert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	StartsAt     time.Time         `json:"startsAt,omitzero"` // zero: now
	EndsAt       time.Time         `json:"endsAt,omitzero"`   // zero: fires until resolve_timeout, 5 min
	GeneratorURL string            `json:"generatorURL,omitempty"`
}

// Post sends alerts the way Prometheus does. It returns when Alertmanager has
// accepted them; notifying comes after.
func (s *Server) Post(ctx context.Context, alerts ...Alert) error {
	body, err := json.Marshal(alerts)
	if err != nil {
		return fmt.Errorf("writing alerts: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/api/v2/alerts", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("posting alerts: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := s.http.Do(req)
	if err != nil {
		return fmt.Errorf("posting alerts: %w", err)
	}
	defer res.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("posting alerts: Alertmanager answered %s: %s", res.Status, bytes.TrimSpace(answer))
	}
	return nil
}

// Resolve ends alerts that were posted with the same labels.
func (s *Server) Resolve(ctx context.Context, alerts ...Alert) error {
	for i := range alerts {
		alerts[i].EndsAt = time.Now()
	}
	return s.Post(ctx, alerts...)
}
