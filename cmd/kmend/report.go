package main

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"strings"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/app"
	"github.com/kmend/kmend/report"
	"github.com/kmend/kmend/report/pagerduty"
	"github.com/kmend/kmend/report/slack"
)

// reportCmd is `kmend report`.
type reportCmd struct {
	Preview previewCmd `cmd:"" help:"Print what is sent of an incident as it is now."`
}

// previewCmd is `kmend report preview ID|FILE`.
type previewCmd struct {
	remote
	Incident string `arg:"" name:"id|file" help:"An incident of the server; or a file that kmend incidents show -o json or kmend diagnose -o json wrote."`
	Config   string `short:"c" type:"path" placeholder:"FILE" help:"kmend.yaml, whose routes and templates are used; without it: kmend's own words."`
	Format   string `short:"f" enum:"text,slack,pagerduty" default:"text" help:"text, slack or pagerduty (${default})."`
	Output   string `short:"o" enum:"text,json" default:"text" help:"text or json (${default}): json is what is sent."`
}

// Validate is bad usage.
func (c *previewCmd) Validate() error {
	if err := checkIDOrFile(c.Incident); err != nil {
		return err
	}
	return c.remote.Validate()
}

// Run prints; nothing is sent.
func (c *previewCmd) Run(ctx context.Context, out *output) error {
	inc, err := c.incident(ctx, c.Incident)
	if err != nil {
		return err
	}
	inc = app.Summarized(inc)
	words, err := c.words(inc, out)
	if err != nil {
		return err
	}
	sent, text := c.preview(inc, words)
	switch {
	case c.Output == "json":
		enc := json.NewEncoder(out.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(sent)
	case c.Format == "text" && words == "":
		return report.Text(out.Stdout, inc, report.Options{Color: out.Color, Width: width(out.Stdout)})
	case text == "":
		text = "Nothing is sent yet: it is not known what to do."
	}
	_, err = out.Stdout.Write([]byte(text + "\n"))
	return err
}

// words are the template's, empty where there is none. Which route it is goes to
// standard error, beside what would be sent.
func (c *previewCmd) words(inc incident.Incident, out *output) (string, error) {
	if c.Config == "" {
		return "", nil
	}
	routing, err := routingOf(c.Config)
	if err != nil {
		return "", err
	}
	way := routing.Of(inc)
	if _, err := fmt.Fprintln(out.Stderr, way); err != nil {
		return "", err
	}
	render := map[string]func(incident.Incident) (string, error){"slack": way.Slack.Words, "pagerduty": way.PagerDuty.Words}[c.Format]
	if c.Format == "text" && routing.Text != nil {
		render = routing.Text.Render
	}
	if render == nil {
		return "", nil
	}
	return render(inc)
}

// preview is what is sent, and how it reads.
func (c *previewCmd) preview(inc incident.Incident, words string) (sent any, text string) {
	switch c.Format {
	case "slack":
		m, ok := slack.Render(inc, slack.Form{Buttons: true, Words: words})
		if !ok {
			return nil, ""
		}
		return m, html.UnescapeString(slack.Plain(m)) // as Slack shows it
	case "pagerduty":
		notes := pagerduty.Notes(inc, words)
		return notes, strings.Join(notes, "\n\n")
	}
	return inc, words
}
