package pagerduty

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/PagerDuty/go-pagerduty"

	"github.com/kmend/kmend/internal/secret"
)

// callTimeout bounds one call.
const callTimeout = 10 * time.Second

// Access is how PagerDuty is reached. The secrets are read anew for each call, so
// rotated ones count at once.
type Access struct {
	TokenFile      string // of a REST API key; empty: no notes
	From           string // e-mail address of the user in whose name the notes are
	RoutingKeyFile string // of an Events API v2 integration; empty: kmend pages nobody itself
	APIURL         string // empty: PagerDuty's
	EventsURL      string // empty: PagerDuty's
}

// Client calls PagerDuty's REST API and its Events API v2.
type Client struct {
	token, routing *secret.File // nil: not configured
	access         Access
	http           *http.Client
}

// NewClient opens the secrets.
func NewClient(a Access) (c *Client, err error) {
	if a.TokenFile == "" && a.RoutingKeyFile == "" {
		return nil, errors.New("neither an API token nor a routing key is set; set one at least")
	}
	if a.TokenFile != "" && !strings.Contains(a.From, "@") {
		return nil, fmt.Errorf("from is %q; want the e-mail address of a PagerDuty user, who writes the notes", a.From)
	}
	c = &Client{access: a, http: &http.Client{Timeout: callTimeout, Transport: http.DefaultTransport.(*http.Transport).Clone()}}
	c.access.APIURL = strings.TrimSuffix(cmp.Or(a.APIURL, "https://api.pagerduty.com"), "/")
	c.access.EventsURL = strings.TrimSuffix(cmp.Or(a.EventsURL, "https://events.pagerduty.com"), "/")
	if a.TokenFile != "" {
		if c.token, err = secret.Open(a.TokenFile); err != nil {
			return nil, fmt.Errorf("opening PagerDuty's API token: %w", err)
		}
	}
	if a.RoutingKeyFile != "" {
		if c.routing, err = secret.Open(a.RoutingKeyFile); err != nil {
			return nil, fmt.Errorf("opening PagerDuty's routing key: %w", err)
		}
	}
	return c, nil
}

// Close gives back idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) api() (*pagerduty.Client, error) {
	var token string
	if c.token != nil {
		var err error
		if token, err = c.token.Value(); err != nil {
			return nil, err
		}
	}
	api := pagerduty.NewClient(token, pagerduty.WithAPIEndpoint(c.access.APIURL), pagerduty.WithV2EventsAPIEndpoint(c.access.EventsURL))
	api.HTTPClient = c.http
	return api, nil
}

// Find is the id of the newest incident with a dedup key that is not resolved, ""
// when there is none.
func (c *Client) Find(ctx context.Context, key string) (string, error) {
	api, err := c.api()
	if err != nil {
		return "", err
	}
	list, err := api.ListIncidentsWithContext(ctx, pagerduty.ListIncidentsOptions{IncidentKey: key, Statuses: []string{"triggered", "acknowledged"}, SortBy: "created_at:desc", Limit: 1})
	if err != nil {
		return "", fmt.Errorf("asking PagerDuty for the incident: %w", err)
	}
	if len(list.Incidents) == 0 {
		return "", nil
	}
	return list.Incidents[0].ID, nil
}

// Note writes a note on an incident, unless one is there that begins with the same line.
func (c *Client) Note(ctx context.Context, id, text string) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	there, err := api.ListIncidentNotesWithContext(ctx, id)
	if err != nil {
		return fmt.Errorf("reading the notes of PagerDuty's incident %s: %w", id, err)
	}
	head, _, _ := strings.Cut(text, "\n")
	if slices.ContainsFunc(there, func(n pagerduty.IncidentNote) bool { h, _, _ := strings.Cut(n.Content, "\n"); return h == head }) {
		return nil // kmend died before it wrote that down
	}
	note := pagerduty.IncidentNote{Content: text, User: pagerduty.APIObject{Summary: c.access.From}} // the SDK takes From from there
	if _, err := api.CreateIncidentNoteWithContext(ctx, id, note); err != nil {
		return fmt.Errorf("writing a note on PagerDuty's incident %s: %w", id, err)
	}
	return nil
}

// Set acknowledges or resolves an incident.
func (c *Client) Set(ctx context.Context, id, status string) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	if _, err := api.ManageIncidentsWithContext(ctx, c.access.From, []pagerduty.ManageIncidentsOptions{{ID: id, Status: status}}); err != nil {
		return fmt.Errorf("setting PagerDuty's incident %s to %s: %w", id, status, err)
	}
	return nil
}

// Event triggers or resolves an incident of kmend's own, at the service that a key is of.
func (c *Client) Event(ctx context.Context, e pagerduty.V2Event, key *secret.File) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	if e.RoutingKey, err = key.Value(); err != nil {
		return err
	}
	if _, err = api.ManageEventWithContext(ctx, &e); err != nil {
		return fmt.Errorf("sending an event to PagerDuty: %w", err)
	}
	return nil
}

// limited reports whether PagerDuty wants less; its limits end with the minute.
func limited(err error) bool {
	e, ok := errors.AsType[pagerduty.APIError](err)
	return ok && e.RateLimited()
}

// gone reports whether an incident is not there.
func gone(err error) bool {
	e, ok := errors.AsType[pagerduty.APIError](err)
	return ok && e.NotFound()
}
