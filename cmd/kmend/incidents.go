package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/report"
)

// incidentsCmd is `kmend incidents`.
type incidentsCmd struct {
	List   listCmd   `cmd:"" help:"List incidents, newest first."`
	Show   showCmd   `cmd:"" help:"Show the report of one incident."`
	Export exportCmd `cmd:"" help:"Write the record of one incident: timeline, people, decisions, before and after, action items."`
}

// listCmd is `kmend incidents list`.
type listCmd struct {
	remote
	Open   bool           `help:"Only those that are open."`
	Phase  incident.Phase `placeholder:"PHASE" help:"Only those in this phase: received, diagnosing, planned, awaiting_approval, executing, verifying, resolved, escalated."`
	Limit  int            `default:"50" help:"At most this many, 1 to 500 (${default})."`
	Before string         `placeholder:"ID" help:"Only those older than this incident: the next page."`
	Output string         `short:"o" enum:"text,json" default:"text" help:"text or json (${default})."`
}

// Validate is bad usage.
func (c *listCmd) Validate() error {
	if c.Limit < 1 || c.Limit > 500 {
		return fmt.Errorf("--limit is %d; want 1 to 500", c.Limit)
	}
	for _, p := range incident.Phases() {
		if c.Phase == p || c.Phase == "" {
			return c.remote.Validate()
		}
	}
	return fmt.Errorf("--phase is %q; want one of %v", c.Phase, incident.Phases())
}

// incidentList is the server's answer.
type incidentList struct {
	APIVersion string              `json:"apiVersion"`
	Kind       string              `json:"kind"`
	Items      []incident.Incident `json:"items"`
}

// Run prints a table, or what the server sent.
func (c *listCmd) Run(ctx context.Context, out *output) error {
	q := url.Values{"limit": {strconv.Itoa(c.Limit)}}
	for name, v := range map[string]string{"phase": string(c.Phase), "before": c.Before} {
		if v != "" {
			q.Set(name, v)
		}
	}
	if c.Open {
		q.Set("open", "true")
	}
	path := "/api/v1/incidents?" + q.Encode()
	if c.Output == "json" {
		return c.raw(ctx, out, path)
	}
	var list incidentList
	if err := c.get(ctx, path, &list); err != nil {
		return err
	}
	return report.List(out.Stdout, list.Items)
}

// showCmd is `kmend incidents show ID`.
type showCmd struct {
	remote
	ID     string `arg:"" help:"The incident."`
	Output string `short:"o" enum:"text,json" default:"text" help:"text or json (${default})."`
}

// Validate is bad usage.
func (c *showCmd) Validate() error {
	if err := checkID(c.ID); err != nil {
		return err
	}
	return c.remote.Validate()
}

// Run prints the report, or what the server sent.
func (c *showCmd) Run(ctx context.Context, out *output) error {
	path := "/api/v1/incidents/" + c.ID
	if c.Output == "json" {
		return c.raw(ctx, out, path)
	}
	var inc incident.Incident
	if err := c.get(ctx, path, &inc); err != nil {
		return err
	}
	return report.Text(out.Stdout, inc, report.Options{Color: out.Color, Width: width(out.Stdout)})
}

// raw prints the server's JSON as it is: fields that this program does not know
// stay in it.
func (r remote) raw(ctx context.Context, out *output, path string) error {
	var body json.RawMessage
	if err := r.get(ctx, path, &body); err != nil {
		return err
	}
	_, err := out.Stdout.Write(append(body, '\n'))
	return err
}

var idForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

func checkID(id string) error {
	if id == "" {
		return errors.New("which incident? Give its ID; `kmend incidents list` shows them")
	}
	if !idForm.MatchString(id) {
		return fmt.Errorf("%q is not an incident's ID; `kmend incidents list` shows them", id)
	}
	return nil
}
