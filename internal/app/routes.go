package app

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/route"
	"github.com/kmend/kmend/internal/secret"
	"github.com/kmend/kmend/report/pagerduty"
	"github.com/kmend/kmend/report/slack"
	"github.com/kmend/kmend/report/wording"
)

// Routing says for each incident where people hear of it and in whose words.
type Routing struct {
	table  route.Table
	ways   []Way // in the table's order
	others Way
	// Text is the template of text; nil: kmend's own words.
	Text *wording.Template
}

// Way is where people hear of an incident.
type Way struct {
	Name      string // of the route; empty: none matches
	Matchers  string
	Slack     slack.Route
	PagerDuty pagerduty.Route
	key       string // file of the routing key
}

// Routing makes the routes of a configuration.
func (c Config) Routing() (*Routing, error) {
	var r Routing
	var err error
	if c.Templates.Text != "" {
		if r.Text, err = wording.Load(c.Templates.Text, wording.Text()); err != nil {
			return nil, err
		}
	}
	if r.others, err = c.way(Route{}); err != nil {
		return nil, err
	}
	for _, one := range c.Routes {
		rule, err := route.Parse(one.Match)
		if err != nil {
			return nil, fmt.Errorf("route %s: %w", one.Name, err)
		}
		way, err := c.way(one)
		if err != nil {
			return nil, fmt.Errorf("route %s: %w", one.Name, err)
		}
		r.table, r.ways = append(r.table, rule), append(r.ways, way)
	}
	return &r, nil
}

// way is a route with what it leaves open filled in.
func (c Config) way(r Route) (w Way, err error) {
	s, p := cmp.Or(r.Slack, &SlackRoute{}), cmp.Or(r.PagerDuty, &PagerDutyRoute{})
	w = Way{Name: r.Name, Matchers: r.matchers(), PagerDuty: pagerduty.Route{Name: r.Name, Off: p.Off}, key: p.RoutingKeyFile}
	if c.Slack != nil && !s.Off {
		w.Slack.Channel = cmp.Or(s.Channel, c.Slack.Channel)
	}
	if file := cmp.Or(s.Template, c.Templates.Slack); file != "" {
		t, err := wording.Load(file, wording.Slack())
		if err != nil {
			return w, err
		}
		w.Slack.Words = t.Render
	}
	if file := cmp.Or(p.Template, c.Templates.PagerDuty); file != "" {
		t, err := wording.Load(file, wording.PagerDuty())
		if err != nil {
			return w, err
		}
		w.PagerDuty.Words = t.Render
	}
	if p.RoutingKeyFile != "" {
		if w.PagerDuty.Key, err = secret.Open(p.RoutingKeyFile); err != nil {
			return w, fmt.Errorf("opening its routingKeyFile: %w", err)
		}
	}
	return w, nil
}

// Of is where people hear of an incident. Nobody is paged for a test alert, and it is
// posted only where its sender wants that.
func (r *Routing) Of(inc incident.Incident) Way {
	w := r.way(inc)
	if inc.Test {
		w.PagerDuty.Off = true
		if !inc.TestPosted {
			w.Slack.Channel = ""
		}
	}
	return w
}

// way is where people would hear of an incident that is no test.
func (r *Routing) way(inc incident.Incident) Way {
	if i := r.table.First(inc); i >= 0 {
		return r.ways[i]
	}
	return r.others
}

// String says it in a line.
func (w Way) String() string {
	text := "no route, so the default"
	if w.Name != "" {
		text = fmt.Sprintf("route %s (%s)", w.Name, w.Matchers)
	}
	pager := "as pagerduty says"
	switch {
	case w.PagerDuty.Off:
		pager = "nothing"
	case w.key != "":
		pager = "pages by the key in " + w.key
	}
	return fmt.Sprintf("%s: Slack %s, PagerDuty %s", text, cmp.Or(w.Slack.Channel, "nothing"), pager)
}

// named is a route by its name; where it is gone, what is for all others.
func (r *Routing) named(name string) Way {
	if i := slices.IndexFunc(r.ways, func(w Way) bool { return w.Name == name }); i >= 0 {
		return r.ways[i]
	}
	return r.others
}
