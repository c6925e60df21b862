package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/respond"
	"github.com/kmend/kmend/internal/store"
	"github.com/kmend/kmend/webhook"
)

// receiver translates between the webhook and the responder, which do not know
// each other.
type receiver struct{ responder *respond.Responder }

func (r receiver) Ingest(ctx context.Context, n incident.Notification) error {
	err := r.responder.Ingest(ctx, n)
	if errors.Is(err, respond.ErrFull) {
		return fmt.Errorf("%w: %w", webhook.ErrFull, err)
	}
	return err
}

// router makes every route of the server.
func (a *App) router(responder *respond.Responder, db *store.Store) (http.Handler, error) {
	door, err := newDoors(a.config, a.log)
	if err != nil {
		return nil, err
	}
	r := chi.NewRouter()
	r.Use(recovered(a.log), guarded)
	if err := a.webhooks(r, noting{receiver{responder}, a.arrivals}); err != nil {
		return nil, err
	}
	if a.slack != nil && a.slack.door != nil {
		r.Handle("/webhook/slack/interactive", a.slack.door)
	}
	r.Get("/healthz", healthy)
	r.Get("/readyz", ready(a.checks))
	r.Handle("/metrics", promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{Registry: a.registry}))
	r.Route("/api/v1", func(r chi.Router) {
		api{a.log, door, summarized{db, a.traced}, responder}.routes(r)
		stopper{a.log, door, db, &a.now}.routes(r)
		doings{a.log, door, db}.routes(r)
		testAlerts{a.log, door, responder, summarized{db, a.traced}, a.config, &a.now}.routes(r)
		examined{a.log, door, a.examine(db), new(sync.Mutex)}.routes(r)
	})
	r.NotFound(func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusNotFound, "no such page; there are /webhook/alertmanager, /webhook/grafana, /healthz, /readyz, /metrics, /api/v1/incidents, /api/v1/incidents/ID, /api/v1/incidents/ID/record, /api/v1/incidents/ID/approve, /api/v1/pause, /api/v1/runs, /api/v1/test-alerts and /api/v1/doctor")
	})
	r.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusMethodNotAllowed, r.Method+" is not allowed here")
	})
	return r, nil
}

// webhooks makes the routes that alerts come in by.
func (a *App) webhooks(r chi.Router, in webhook.Ingester) error {
	c := a.config.Webhook
	o := webhook.DefaultOptions()
	o.BearerTokenFile, o.MaxBodyBytes, o.Logger, o.Metrics = c.BearerTokenFile, c.MaxBodyBytes, a.log, webhook.NewMetrics(a.registry)
	if c.BasicAuth != nil {
		o.BasicUsername, o.BasicPasswordFile = c.BasicAuth.Username, c.BasicAuth.PasswordFile
	}
	var own webhook.Grafana
	if g := c.Grafana; g != nil {
		own.SecretFile, own.SignatureHeader, own.TimestampHeader = g.HMACSecretFile, g.SignatureHeader, g.TimestampHeader
	}
	alertmanager, err := webhook.NewAlertmanager(in, o)
	if err != nil {
		return err
	}
	grafana, err := webhook.NewGrafana(in, o, own)
	if err != nil {
		return err
	}
	if c.BearerTokenFile == "" && c.BasicAuth == nil {
		alertmanager = named(alertmanager)
		if own.SecretFile == "" {
			grafana = named(grafana)
		}
	}
	r.Handle("/webhook/alertmanager", received(a.tracer, "/webhook/alertmanager", alertmanager))
	r.Handle("/webhook/grafana", received(a.tracer, "/webhook/grafana", grafana))
	return nil
}

func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
