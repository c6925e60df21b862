package app

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kmend/kmend/internal/respond"
	"github.com/kmend/kmend/internal/store"
	"github.com/kmend/kmend/report/pagerduty"
)

// PagerDuty says how kmend tells PagerDuty.
type PagerDuty struct {
	TokenFile      string `json:"tokenFile,omitempty" jsonschema_description:"File of a REST API key: notes are written on the incident of the same alerts."`
	From           string `json:"from,omitempty" jsonschema:"maxLength=320" jsonschema_description:"With tokenFile: the e-mail address of the PagerDuty user who writes them."`
	RoutingKeyFile string `json:"routingKeyFile,omitempty" jsonschema_description:"File of the key of an Events API v2 integration: kmend pages there when it failed at something."`
	DedupLabel     string `json:"dedupLabel,omitempty" jsonschema:"maxLength=100" jsonschema_description:"A label or an annotation that holds the dedup key of PagerDuty's incident."`
	APIURL         string `json:"apiURL,omitempty" jsonschema_description:"Default https://api.pagerduty.com."`
	EventsURL      string `json:"eventsURL,omitempty" jsonschema_description:"Default https://events.pagerduty.com."`
}

// checkPagerDuty checks what PagerDuty's answer would tell when somebody waits for a page.
func (c Config) checkPagerDuty(k *checker) {
	p := c.PagerDuty
	if p == nil {
		return
	}
	switch {
	case p.TokenFile == "" && p.RoutingKeyFile == "":
		k.at("pagerduty", "pagerduty has neither tokenFile nor routingKeyFile; set one at least, or remove it")
	case p.TokenFile != "" && !strings.Contains(p.From, "@"):
		k.at("pagerduty", "pagerduty.from is %q; want the e-mail address of a PagerDuty user, who writes the notes", p.From)
	}
	if p.TokenFile != "" {
		k.secret("pagerduty.tokenFile", p.TokenFile)
	}
	if p.RoutingKeyFile != "" {
		k.secret("pagerduty.routingKeyFile", p.RoutingKeyFile)
	}
	for _, f := range []struct{ name, url string }{{"apiURL", p.APIURL}, {"eventsURL", p.EventsURL}} {
		if f.url == "" {
			continue
		}
		u, err := url.Parse(f.url)
		if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "https" && !plainAllowed(u) {
			k.at("pagerduty."+f.name, "pagerduty.%s is %q; want an https URL, http is for 127.0.0.1 only", f.name, f.url)
		}
	}
}

// watchers are all that look on.
type watchers []respond.Watcher

func (all watchers) Changed(id string, urgent bool) {
	for _, w := range all {
		w.Changed(id, urgent)
	}
}

// pagerdutyApp is what is told to PagerDuty.
type pagerdutyApp struct {
	log    *slog.Logger
	db     *store.Store
	client *pagerduty.Client
	poster *pagerduty.Poster
}

// sent translates between the store and the poster, which do not know each other.
type sent struct{ db *store.Store }

func (s sent) Sent(ctx context.Context, id string) (pagerduty.Sent, error) {
	v, err := s.db.Sent(ctx, id)
	return pagerduty.Sent(v), err
}

func (s sent) KeepSent(ctx context.Context, v pagerduty.Sent) error {
	return s.db.KeepSent(ctx, store.Sent(v))
}

func newPagerDuty(c PagerDuty, now *current, db *store.Store, reg prometheus.Registerer, log *slog.Logger, l *llmApp) (*pagerdutyApp, error) {
	client, err := pagerduty.NewClient(pagerduty.Access{TokenFile: c.TokenFile, From: c.From, RoutingKeyFile: c.RoutingKeyFile, APIURL: c.APIURL, EventsURL: c.EventsURL})
	if err != nil {
		return nil, fmt.Errorf("configuring pagerduty: %w", err)
	}
	o := pagerduty.DefaultOptions()
	o.Client, o.Incidents, o.Ledger, o.DedupLabel, o.Logger, o.Metrics = client, summarized{Store: db}, sent{db}, c.DedupLabel, log, pagerduty.NewMetrics(reg)
	o.Routes = pages{now}
	if l != nil {
		o.Hold = l.hold
	}
	a := &pagerdutyApp{log: log, db: db, client: client}
	a.poster, err = pagerduty.NewPoster(o)
	return a, err
}

// run tells PagerDuty until ctx ends. PagerDuty that is away holds up nothing.
func (a *pagerdutyApp) run(ctx context.Context) {
	defer a.client.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		everyMinute(ctx, func() {
			ids, err := a.db.Unsent(ctx, time.Now().Add(-24*time.Hour)) // a page is worth that long
			if err != nil && ctx.Err() == nil {
				a.log.Error("what PagerDuty was not told is looked for later", "error", err)
			}
			for _, id := range ids {
				a.poster.Changed(id, false)
			}
		})
	})
	a.poster.Run(ctx)
	wg.Wait()
}
