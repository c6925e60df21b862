package app

import (
	"fmt"
	"strings"

	"github.com/kmend/kmend/internal/route"
	"github.com/kmend/kmend/report/wording"
)

// Route is where people hear of some incidents: the first whose matchers match.
type Route struct {
	Name      string          `json:"name" jsonschema:"minLength=1,maxLength=63,pattern=^[A-Za-z0-9._-]+$"`
	Match     []string        `json:"match" jsonschema:"minItems=1,maxItems=20" jsonschema_description:"Alertmanager's matchers on an alert's labels, such as team=\"shop\"; all have to match. namespace is the target's."`
	Slack     *SlackRoute     `json:"slack,omitempty"`
	PagerDuty *PagerDutyRoute `json:"pagerduty,omitempty"`
}

// SlackRoute is what is different in Slack.
type SlackRoute struct {
	Off      bool   `json:"off,omitempty" jsonschema_description:"No message."`
	Channel  string `json:"channel,omitempty" jsonschema:"maxLength=100" jsonschema_description:"Default slack.channel."`
	Template string `json:"template,omitempty" jsonschema_description:"File of the template of the message's first lines. Default templates.slack."`
}

// PagerDutyRoute is what is different in PagerDuty.
type PagerDutyRoute struct {
	Off            bool   `json:"off,omitempty" jsonschema_description:"No notes and no pages."`
	RoutingKeyFile string `json:"routingKeyFile,omitempty" jsonschema_description:"File of the key of the Events API v2 integration where kmend pages. Default pagerduty.routingKeyFile."`
	Template       string `json:"template,omitempty" jsonschema_description:"File of the template of the first note. Default templates.pagerduty."`
}

// Templates are files with operators' own words.
type Templates struct {
	Slack     string `json:"slack,omitempty" jsonschema_description:"The first lines of the message in Slack."`
	PagerDuty string `json:"pagerduty,omitempty" jsonschema_description:"The first note in PagerDuty."`
	Text      string `json:"text,omitempty" jsonschema_description:"What kmend report preview prints as text."`
}

// routePaths are the files that routes and templates name.
func (c *Config) routePaths() []*string {
	paths := []*string{&c.Templates.Slack, &c.Templates.PagerDuty, &c.Templates.Text}
	for i := range c.Routes {
		if s := c.Routes[i].Slack; s != nil {
			paths = append(paths, &s.Template)
		}
		if p := c.Routes[i].PagerDuty; p != nil {
			paths = append(paths, &p.Template, &p.RoutingKeyFile)
		}
	}
	return paths
}

// checkRoutes checks what would be noticed when somebody waits for a message.
func (c Config) checkRoutes(k *checker) {
	template := func(path, file string, form wording.Form) {
		if file == "" {
			return
		}
		if _, err := wording.Load(file, form); err != nil {
			k.at(path, "%s: %v", shown(path), err)
		}
	}
	template("templates.slack", c.Templates.Slack, wording.Slack())
	template("templates.pagerduty", c.Templates.PagerDuty, wording.PagerDuty())
	template("templates.text", c.Templates.Text, wording.Text())
	names := map[string]bool{}
	for i, r := range c.Routes {
		field := fmt.Sprintf("routes.%d", i)
		if names[r.Name] {
			k.at(field+".name", "routes[%d].name %q is there twice; each route has a name of its own", i, r.Name)
		}
		names[r.Name] = true
		for j, m := range r.Match {
			if _, err := route.Parse([]string{m}); err != nil {
				k.at(fmt.Sprintf("%s.match.%d", field, j), "routes[%d].match[%d]: %v", i, j, err)
			}
		}
		if s := r.Slack; s != nil {
			if c.Slack == nil {
				k.at(field+".slack", "routes[%d].slack is set and slack is not; set slack, or remove it", i)
			}
			if s.Off && (s.Channel != "" || s.Template != "") {
				k.at(field+".slack", "routes[%d].slack is off and has a channel or a template; remove one", i)
			}
			template(field+".slack.template", s.Template, wording.Slack())
		}
		if p := r.PagerDuty; p != nil {
			if c.PagerDuty == nil {
				k.at(field+".pagerduty", "routes[%d].pagerduty is set and pagerduty is not; set pagerduty, or remove it", i)
			}
			if p.Off && (p.RoutingKeyFile != "" || p.Template != "") {
				k.at(field+".pagerduty", "routes[%d].pagerduty is off and has a routingKeyFile or a template; remove one", i)
			}
			if p.RoutingKeyFile != "" {
				k.secret(field+".pagerduty.routingKeyFile", p.RoutingKeyFile)
			}
			template(field+".pagerduty.template", p.Template, wording.PagerDuty())
		}
		if r.Slack == nil && r.PagerDuty == nil {
			k.at(field, "routes[%d] has neither slack nor pagerduty; say what is different for what it matches", i)
		}
	}
}

// matchers are those of a route as one text.
func (r Route) matchers() string { return strings.Join(r.Match, " ") }
