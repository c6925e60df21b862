package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	standin "github.com/kmend/kmend/test/slack"
)

// A plan is asked about in its route's channel, and its message stays there to the end,
// whatever the routes are by then.
func TestSlackRoutes(t *testing.T) {
	t.Parallel()
	b := newBed(t, users(1, "U1"), time.Minute)
	restart := func(routes ...Route) {
		t.Helper()
		b.stop()
		b.routes = routes
		b.start(time.Minute)
	}
	restart(Route{Name: "slow", Match: []string{`alertname="Slow"`}, Slack: &SlackRoute{Channel: "#shop"}})
	b.notify(incident.Firing)
	m := b.asked()
	if m.Channel != standin.OtherChannel {
		t.Errorf("asked in %s", m.Channel)
	}
	restart(Route{Name: "slow", Match: []string{`alertname="Slow"`}, Slack: &SlackRoute{Off: true}})
	b.click(m, "approve", "U9")
	b.told(1, "U9", "you are not one of those who may")
	b.click(m, "approve", "U1")
	b.ends("Fixed:", "Approved by u1 (Slack U1) at")
	b.acted(1)
	if m := b.slack.Messages()[0]; m.Channel != standin.OtherChannel {
		t.Errorf("it ended in %s", m.Channel)
	}
	b.until("the timeline in its thread", func() bool {
		return strings.Contains(strings.Join(b.slack.Messages()[0].Thread, "\n"), "fixed: ")
	})
}

// What is left out is as for all others, and off is nobody.
func TestRouting(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"head.tmpl": "head of {{.Alert}}", "shop.tmpl": "shop", "note.tmpl": "note", "key": "k1", "bot.token": "xoxb-1", "pagerduty.key": "k0"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(writeConfig(t, dir, `slack: {botTokenFile: bot.token, channel: "#all"}
pagerduty: {routingKeyFile: pagerduty.key}
templates: {slack: head.tmpl, pagerduty: note.tmpl}
routes:
  - {name: shop, match: ['team="shop"'], slack: {template: shop.tmpl}, pagerduty: {routingKeyFile: key}}
  - {name: dev, match: ['namespace=~"dev-.*"'], slack: {off: true}, pagerduty: {off: true}}
  - {name: late, match: ['team="shop"'], slack: {channel: "#late"}}
`))
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Routing()
	if err != nil {
		t.Fatal(err)
	}
	var now current
	now.routing.Store(r)
	for _, want := range []struct {
		labels              map[string]string
		namespace           string
		name, channel, head string
		off                 bool
		key                 string
	}{
		{map[string]string{"team": "shop"}, "dev-1", "shop", "#all", "shop", false, "k1"},
		{map[string]string{"namespace": "monitoring"}, "dev-1", "dev", "", "head of Slow", true, ""},
		{nil, "prod", "", "#all", "head of Slow", false, ""},
	} {
		labels := map[string]string{"alertname": "Slow"}
		for k, v := range want.labels {
			labels[k] = v
		}
		inc := incident.Incident{Target: incident.Target{Namespace: want.namespace, Pod: "p"}, Alerts: []incident.Alert{{Labels: labels}}}
		w := r.Of(inc)
		head, err := w.Slack.Words(inc)
		if w.Name != want.name || w.Slack.Channel != want.channel || head != want.head || err != nil || w.PagerDuty.Off != want.off || w.PagerDuty.Name != want.name {
			t.Errorf("%v: %s, Slack %q %q, PagerDuty off %v (%v)", labels, w, w.Slack.Channel, head, w.PagerDuty.Off, err)
		}
		key := ""
		if w.PagerDuty.Key != nil {
			key, _ = w.PagerDuty.Key.Value()
		}
		if named := (pages{&now}).Named(want.name); key != want.key || named.Name != want.name {
			t.Errorf("%v: key %q, want %q; by its name it is %q", labels, key, want.key, named.Name)
		}
	}
	if gone := (pages{&now}).Named("gone"); gone.Name != "" || gone.Off {
		t.Errorf("a route that is gone is %+v", gone)
	}
}
