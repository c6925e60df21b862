package main

import (
	"encoding/json"
	"fmt"
	"time"
)

// notification is Alertmanager's JSON of a group with one alert that fires since then.
func notification(group string, labels map[string]string, since time.Time) ([]byte, error) {
	b, err := json.Marshal(map[string]any{
		"version": "4", "groupKey": group, "truncatedAlerts": 0, "status": "firing", "receiver": "kmend",
		"groupLabels": labels, "commonLabels": labels, "commonAnnotations": map[string]string{},
		"externalURL": "http://alertmanager.example",
		"alerts": []any{map[string]any{
			"status": "firing", "labels": labels,
			"annotations": map[string]string{"summary": "Requests take too long", "description": "p99 of the checkout is 2.1 s; the objective is 300 ms"},
			"startsAt":    since, "endsAt": time.Time{},
			"generatorURL": "http://prometheus.example/graph", "fingerprint": "c0ffee00c0ffee00",
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("writing a notification: %w", err)
	}
	return b, nil
}
