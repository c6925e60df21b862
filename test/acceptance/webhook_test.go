package acceptance

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// notification is Alertmanager's JSON of a group with one alert about a cgroup,
// with an annotation of size bytes.
func notification(t *testing.T, group, path string, size int) []byte {
	t.Helper()
	b, err := json.Marshal(map[string]any{
		"version": "4", "groupKey": group, "truncatedAlerts": 0, "status": "firing", "receiver": "kmend",
		"groupLabels": map[string]string{}, "commonLabels": map[string]string{}, "commonAnnotations": map[string]string{},
		"externalURL": "http://alertmanager.example",
		"alerts": []any{map[string]any{
			"status": "firing", "labels": map[string]string{"alertname": "RequestsSlow", "cgroup": path},
			"annotations": map[string]string{"long": strings.Repeat("x", size)},
			"startsAt":    time.Now(), "endsAt": time.Time{}, "generatorURL": "", "fingerprint": "c0ffee00c0ffee00",
		}},
		"aFieldOfTomorrow": map[string]any{"ignored": true},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Every request that is wrong gets a status that says whose fault it is and a
// sentence that says why; none of them makes an incident.
func TestWebhookRefuses(t *testing.T) {
	s := serve(t, nil)
	token, err := os.ReadFile(s.WebhookTokenFile())
	if err != nil {
		t.Fatal(err)
	}
	right := strings.TrimSpace(string(token))
	good := string(notification(t, "g", "/sys/fs/cgroup/x", 0))
	cases := []struct {
		name, token, body string
		status            int
		reason            string
	}{
		{"no token", "", good, http.StatusUnauthorized, ""},
		{"wrong token", right + "x", good, http.StatusUnauthorized, ""},
		{"no JSON", right, "hello", http.StatusBadRequest, "JSON"},
		{"cut off", right, good[:len(good)/2], http.StatusBadRequest, ""},
		{"another version", right, strings.Replace(good, `"version":"4"`, `"version":"3"`, 1), http.StatusBadRequest, "version"},
		{"a label that is no text", right, strings.Replace(good, `"alertname":"RequestsSlow"`, `"alertname":7`, 1), http.StatusBadRequest, ""},
		{"no group key", right, strings.Replace(good, `"groupKey":"g"`, `"groupKey":""`, 1), http.StatusBadRequest, "groupKey"},
		{"too large", right, string(notification(t, "g", "/x", 5<<20)), http.StatusRequestEntityTooLarge, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			status, answer, err := s.Post(t.Context(), "/webhook/alertmanager", c.token, []byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if status != c.status || !strings.Contains(answer, c.reason) || strings.TrimSpace(answer) == "" {
				t.Errorf("%d %q; want %d with a reason that says %q", status, answer, c.status, c.reason)
			}
			if strings.Contains(answer, right) {
				t.Error("the answer has the token in it")
			}
		})
	}
	if all, err := s.Incidents(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("%d incidents, %v; want none", len(all), err)
	}
	if strings.Contains(s.Tail(), right) {
		t.Error("kmend logged the token")
	}
}
