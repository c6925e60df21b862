package alertmanager

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// Counts is how Alertmanager itself counts its work since it started.
type Counts struct {
	Received int // alerts accepted by its API
	Sent     int // notifications to the webhook, tries that failed for good among them
	Requests int // HTTP requests to the webhook, each try one
	Failed   int // of Requests
}

// Counts reads them from /metrics.
func (s *Server) Counts(ctx context.Context) (Counts, error) {
	var c Counts
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/metrics", nil)
	if err != nil {
		return c, fmt.Errorf("reading Alertmanager's metrics: %w", err)
	}
	res, err := s.http.Do(req)
	if err != nil {
		return c, fmt.Errorf("reading Alertmanager's metrics: %w", err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue // a comment
		}
		metric, labels, _ := strings.Cut(name, "{")
		webhook := strings.Contains(labels, `integration="webhook"`)
		switch {
		case metric == "alertmanager_alerts_received_total":
			c.Received += int(n)
		case metric == "alertmanager_notifications_total" && webhook:
			c.Sent += int(n)
		case metric == "alertmanager_notification_requests_total" && webhook:
			c.Requests += int(n)
		case metric == "alertmanager_notification_requests_failed_total" && webhook:
			c.Failed += int(n)
		}
	}
	if err := lines.Err(); err != nil {
		return c, fmt.Errorf("reading Alertmanager's metrics: %w", err)
	}
	return c, nil
}
