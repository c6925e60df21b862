package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// testAlerts is /api/v1/test-alerts: who may read may send one, and who may approve may
// have it posted.
type testAlerts struct {
	log   *slog.Logger
	doors doors
	flow  interface {
		TestAlert(ctx context.Context, labels map[string]string, posted bool) (string, error)
	}
	incidents incidents
	config    Config
	now       *current
}

// TestRequest is the body of POST /api/v1/test-alerts.
type TestRequest struct {
	Target string            `json:"target,omitempty"` // in words, as of --target: pod/shop/cart-1
	Labels map[string]string `json:"labels,omitempty"` // of the alert; over those that Target stands for
	Post   bool              `json:"post,omitempty"`   // to Slack
}

// TestAnswer is the answer: the incident, and where people would hear of a real one.
type TestAnswer struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"` // "TestAlert"
	ID         string            `json:"id"`
	Labels     map[string]string `json:"labels"`
	Told       string            `json:"told"`
}

const (
	maxTestBytes  = 32 << 10
	maxTestLabels = 50
	maxLabelValue = 1024
)

func (x testAlerts) routes(r chi.Router) {
	r.With(x.doors.readers).Post("/test-alerts", x.send)
	r.With(x.doors.readers).Get("/test-alerts/{id}", x.told)
}

func (x testAlerts) send(w http.ResponseWriter, r *http.Request) {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxTestBytes))
	dec.DisallowUnknownFields()
	var body TestRequest
	if err := dec.Decode(&body); err != nil {
		fail(w, http.StatusBadRequest, fmt.Sprintf(`want {"target": KIND/NAMESPACE/NAME, "labels": {...}, "post": true|false}: %v`, err))
		return
	}
	if _, more := dec.Token(); !errors.Is(more, io.EOF) {
		fail(w, http.StatusBadRequest, "something follows the JSON object")
		return
	}
	if body.Post && x.doors.who(r).name == "" {
		fail(w, http.StatusForbidden, "only who may approve may have a test alert posted; use an approver's token, or leave post out")
		return
	}
	labels, err := x.config.testLabels(body)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	id, err := x.flow.TestAlert(r.Context(), labels, body.Post)
	switch {
	case errors.Is(err, store.ErrTests), errors.Is(err, store.ErrFull):
		w.Header().Set("Retry-After", "10")
		fail(w, http.StatusTooManyRequests, err.Error())
		return
	case err != nil:
		trouble(x.log, w, r, err)
		return
	}
	x.log.Info("test alert taken", "incident", id, "posted", body.Post)
	x.reply(w, r, http.StatusCreated, id)
}

// told says where people would hear of the incident if it were no test.
func (x testAlerts) told(w http.ResponseWriter, r *http.Request) {
	x.reply(w, r, http.StatusOK, chi.URLParam(r, "id"))
}

func (x testAlerts) reply(w http.ResponseWriter, r *http.Request, status int, id string) {
	inc, err := x.incidents.Get(r.Context(), id)
	switch {
	case errors.Is(err, store.ErrNotFound) || err == nil && !inc.Test:
		fail(w, http.StatusNotFound, fmt.Sprintf("no test alert %q", printable(id)))
		return
	case err != nil:
		trouble(x.log, w, r, err)
		return
	}
	reply(w, status, TestAnswer{incident.APIVersion, "TestAlert", id, inc.Alerts[0].Labels, x.where(inc)})
}

// where says who would hear of a real incident like it, and who does of this one.
func (x testAlerts) where(inc incident.Incident) string {
	way := x.now.routing.Load().way(inc)
	slack, pager := "nobody in Slack (not configured, or off by the route)", "nobody by PagerDuty (not configured, or off by the route)"
	if way.Slack.Channel != "" {
		slack = "Slack " + way.Slack.Channel + ", not posted for a test without --post"
		if inc.TestPosted {
			slack = "Slack " + way.Slack.Channel + ", posted with the mark TEST"
		}
	}
	if x.config.PagerDuty != nil && !way.PagerDuty.Off {
		pager = "PagerDuty, never for a test"
	}
	text := slack + "; " + pager
	if way.Name != "" {
		text = "by route " + way.Name + ": " + text
	}
	return text
}

// testLabels are those of a test alert.
func (c Config) testLabels(b TestRequest) (map[string]string, error) {
	labels := map[string]string{"alertname": "KmendTestAlert"}
	if b.Target != "" {
		if err := c.name(b.Target, labels); err != nil {
			return nil, err
		}
	}
	if b.Target == "" && len(b.Labels) == 0 {
		return nil, errors.New("neither a target nor labels; say what the test alert is about, such as pod/shop/cart-1")
	}
	for name, v := range b.Labels {
		if !labelName.MatchString(name) || len(name) > 200 || len(v) > maxLabelValue {
			return nil, fmt.Errorf("label %q is no label of an alert; want letters, digits and _ in its name, and at most %d bytes", printable(name), maxLabelValue)
		}
		labels[name] = v
	}
	if len(labels) > maxTestLabels {
		return nil, fmt.Errorf("%d labels; at most %d", len(labels), maxTestLabels)
	}
	return labels, nil
}

// name adds the labels that name a target in the configuration's mapping.
func (c Config) name(target string, labels map[string]string) error {
	kind, rest, _ := strings.Cut(target, "/")
	l := c.Diagnose.Labels
	set := func(names []string, value string) bool {
		if len(names) == 0 || value == "" {
			return false
		}
		// What Prometheus renamed (exported_pod) goes with what it renamed only.
		i := max(slices.IndexFunc(names, func(n string) bool { return !strings.HasPrefix(n, "exported_") }), 0)
		labels[names[i]] = value
		return true
	}
	namespace, name, _ := strings.Cut(rest, "/")
	ok := false
	switch strings.ToLower(kind) {
	case "pod":
		pod, container, _ := strings.Cut(name, "/")
		ok = set(l.Namespace, namespace) && set(l.Pod, pod)
		_ = container == "" || set(l.Container, container)
	case "service":
		ok = set(l.Namespace, namespace) && set(l.Service, name)
	case "node":
		ok = set(l.Node, rest)
	case "cgroup":
		ok = set(l.Cgroup, "/"+strings.TrimLeft(rest, "/"))
	case "unit":
		ok = set(l.Node, namespace) && set(l.Unit, name)
	default:
		for _, k := range l.kinds() {
			if strings.EqualFold(k.kind, kind) {
				ok = set(l.Namespace, namespace) && set(*k.labels, name)
			}
		}
	}
	if !ok {
		return fmt.Errorf("target is %q; want pod/NAMESPACE/NAME, deployment/NAMESPACE/NAME (or another kind), service/NAMESPACE/NAME, node/NAME, unit/NODE/NAME or cgroup/PATH", printable(target))
	}
	if got, found, why := c.mapping().Target(incident.Alert{Labels: labels}); !found || got.IsZero() {
		return fmt.Errorf("target %q is none: %s", printable(target), cmp.Or(why, "its labels name nothing"))
	}
	return nil
}
