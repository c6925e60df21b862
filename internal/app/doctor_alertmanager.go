package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/kmend/kmend/internal/doctor"
)

// maxAlertmanager bounds what is read of one of its answers.
const maxAlertmanager = 8 << 20

// AlertmanagerCheck asks the Alertmanager at a URL whether it sends to kmend, and
// whether that works. It changes nothing.
func AlertmanagerCheck(at string) doctor.Check {
	a := alertmanager{at, &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("it redirects; name the server itself") }}}
	return doctor.Check{Group: "Alertmanager", Name: "Alertmanager", Run: func(ctx context.Context) []doctor.Line {
		defer a.http.CloseIdleConnections()
		conf, err := a.config(ctx)
		if err != nil {
			return []doctor.Line{doctor.Wrong("", "see that --alertmanager is its URL, with the path prefix if there is one", "%v", err)}
		}
		lines := conf.lines()
		failed, sent, err := a.failures(ctx)
		switch {
		case err != nil:
			lines = append(lines, doctor.Absent("deliveries", "how many failed is not known: %v", err))
		case failed > 0:
			lines = append(lines, doctor.Wrong("deliveries", "look for the reason in Alertmanager's log; the count is of all webhooks and since its start", "%d of %d notifications to webhooks failed", failed, sent))
		default:
			lines = append(lines, doctor.Fine("deliveries", "none of %d notifications to webhooks failed", sent))
		}
		return lines
	}}
}

type alertmanager struct {
	url  string
	http *http.Client
}

// amConfig is what is read of its configuration.
type amConfig struct {
	Route     amRoute `yaml:"route"`
	Receivers []struct {
		Name     string `yaml:"name"`
		Webhooks []struct {
			URL          string `yaml:"url"`
			SendResolved *bool  `yaml:"send_resolved"`
		} `yaml:"webhook_configs"`
	} `yaml:"receivers"`
}

type amRoute struct {
	Receiver string    `yaml:"receiver"`
	Routes   []amRoute `yaml:"routes"`
}

// leads reports whether r or a route below it leads to a receiver.
func (r amRoute) leads(to string) bool {
	return r.Receiver == to || slices.ContainsFunc(r.Routes, func(r amRoute) bool { return r.leads(to) })
}

func (a alertmanager) config(ctx context.Context) (c amConfig, err error) {
	body, err := a.get(ctx, "/api/v2/status")
	if err != nil {
		return c, err
	}
	var status struct {
		Config struct {
			Original string `json:"original"`
		} `json:"config"`
	}
	if err := json.Unmarshal(body, &status); err != nil || status.Config.Original == "" {
		return c, errors.New("what answers there is no Alertmanager")
	}
	if err := yaml.Unmarshal([]byte(status.Config.Original), &c); err != nil {
		return c, errors.New("its configuration cannot be read")
	}
	return c, nil
}

const example = `add a receiver with webhook_configs: [{url: "http://KMEND/webhook/alertmanager", send_resolved: true}] and a route to it`

// lines say which receivers send to kmend. Newer Alertmanagers keep the URLs of
// webhooks to themselves.
func (c amConfig) lines() (lines []doctor.Line) {
	hidden := 0
	for _, r := range c.Receivers {
		for _, w := range r.Webhooks {
			u, err := url.Parse(w.URL)
			switch {
			case w.URL == "<secret>" || w.URL == "":
				hidden++
			case err != nil || !strings.HasSuffix(strings.TrimRight(u.Path, "/"), "/webhook/alertmanager"):
			case !c.Route.leads(r.Name):
				lines = append(lines, doctor.Wrong("receiver", "add a route to it", "receiver %s sends to %s, and no route leads to it", r.Name, u.Host))
			case w.SendResolved != nil && !*w.SendResolved:
				lines = append(lines, doctor.Wrong("receiver", "set send_resolved: true: kmend acts on alerts that have resolved already", "receiver %s does not send what resolved", r.Name))
			default:
				lines = append(lines, doctor.Fine("receiver", "receiver %s sends to %s", r.Name, u.Host))
			}
		}
	}
	switch {
	case len(lines) > 0:
	case hidden > 0:
		lines = append(lines, doctor.Absent("receiver", "%d webhooks are configured, whose URLs it does not say: see whether one ends in /webhook/alertmanager of kmend", hidden))
	default:
		lines = append(lines, doctor.Wrong("receiver", example, "none of its %d receivers sends to a URL that ends in /webhook/alertmanager", len(c.Receivers)))
	}
	return lines
}

// failures counts its notifications to webhooks since its start.
func (a alertmanager) failures(ctx context.Context) (failed, sent int, err error) {
	body, err := a.get(ctx, "/metrics")
	if err != nil {
		return 0, 0, err
	}
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(strings.NewReader(string(body)))
	if err != nil {
		return 0, 0, errors.New("its metrics cannot be read")
	}
	return webhooks(families["alertmanager_notifications_failed_total"]), webhooks(families["alertmanager_notifications_total"]), nil
}

func webhooks(f *dto.MetricFamily) (n int) {
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == "integration" && l.GetValue() == "webhook" {
				n += int(m.GetCounter().GetValue())
			}
		}
	}
	return n
}

func (a alertmanager) get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(a.url, "/")+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		if u, is := errors.AsType[*url.Error](err); is {
			err = u.Err
		}
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxAlertmanager))
}
