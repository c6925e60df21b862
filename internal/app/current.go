package app

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/guard"
	"github.com/kmend/kmend/report/pagerduty"
	"github.com/kmend/kmend/report/slack"
	"github.com/kmend/kmend/runbooks"
)

// current holds what may be read again while kmend runs: the runbooks, the policies
// (with the guard that asks them) and the routes with their templates. Whoever uses
// one takes it here each time, and has it whole until the end of that use. What was
// planned stays as it was: a plan is kept rendered and runbooks are not asked again.
type current struct {
	runbooks atomic.Pointer[runbooks.Set]
	guard    atomic.Pointer[guard.Guard]
	routing  atomic.Pointer[Routing]
}

// Plan is the responder's Planner.
func (c *current) Plan(inc incident.Incident) (incident.Plan, bool, string, error) {
	return c.runbooks.Load().Plan(inc)
}

// Decide and Paused are the responder's Guard.
func (c *current) Decide(ctx context.Context, inc incident.Incident, plan incident.Plan) incident.Decision {
	return c.guard.Load().Decide(ctx, inc, plan)
}

// Paused says who stopped kmend and why.
func (c *current) Paused(ctx context.Context) (why string, unknown error) {
	return c.guard.Load().Paused(ctx)
}

// maxEvidenceAge is how old evidence may be for the policies.
func (c *current) maxEvidenceAge() time.Duration { return c.guard.Load().Policies.MaxEvidenceAge() }

// slackRoute is where Slack hears of an incident.
func (c *current) slackRoute(inc incident.Incident) slack.Route {
	return c.routing.Load().Of(inc).Slack
}

// pages are the routes of PagerDuty.
type pages struct{ *current }

func (p pages) Of(inc incident.Incident) pagerduty.Route { return p.routing.Load().Of(inc).PagerDuty }

func (p pages) Named(name string) pagerduty.Route { return p.routing.Load().named(name).PagerDuty }
