package main

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/kmend/kmend/incident"
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
	sent, text := c.preview(inc)
	switch {
	case c.Output == "json":
		enc := json.NewEncoder(out.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(sent)
	case c.Format == "text":
		return report.Text(out.Stdout, inc, report.Options{Color: out.Color, Width: width(out.Stdout)})
	case text == "":
		text = "Nothing is sent yet: it is not known what to do."
	}
	_, err = out.Stdout.Write([]byte(text + "\n"))
	return err
}

// preview is what is sent, and how it reads.
func (c *previewCmd) preview(inc incident.Incident) (sent any, text string) {
	switch c.Format {
	case "slack":
		m, ok := slack.Render(inc, slack.Form{Buttons: true})
		if !ok {
			return nil, ""
		}
		return m, slack.Plain(m)
	case "pagerduty":
		notes := pagerduty.Notes(inc, "")
		return notes, strings.Join(notes, "\n\n")
	}
	return inc, ""
}
