package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"

	"github.com/kmend/kmend/incident"
)

// approveCmd is `kmend approve ID`.
type approveCmd struct {
	remote
	ID   string `arg:"" help:"The incident that waits."`
	Plan string `placeholder:"DIGEST" help:"Answer for this plan only; without it for the plan that waits now, which is shown."`
	Deny bool   `help:"Deny the plan instead, as kmend deny does."`
}

// denyCmd is `kmend deny ID`.
type denyCmd struct {
	remote
	ID   string `arg:"" help:"The incident that waits."`
	Plan string `placeholder:"DIGEST" help:"Answer for this plan only; without it for the plan that waits now, which is shown."`
}

// Validate is bad usage.
func (c *denyCmd) Validate() error { return c.answer().Validate() }

// Run shows the plan and denies that very plan.
func (c *denyCmd) Run(ctx context.Context, out *output) error { return c.answer().Run(ctx, out) }

func (c *denyCmd) answer() *approveCmd {
	return &approveCmd{remote: c.remote, ID: c.ID, Plan: c.Plan, Deny: true}
}

var digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Validate is bad usage.
func (c *approveCmd) Validate() error {
	if err := checkID(c.ID); err != nil {
		return err
	}
	if c.Plan != "" && !digestForm.MatchString(c.Plan) {
		return fmt.Errorf("--plan is %q; want the 64 hexadecimal digits of a plan's digest", c.Plan)
	}
	return c.remote.Validate()
}

// Run shows the plan and answers for that very plan: the server refuses the
// answer when another one waits by then.
func (c *approveCmd) Run(ctx context.Context, out *output) error {
	var inc incident.Incident
	if err := c.get(ctx, "/api/v1/incidents/"+c.ID, &inc); err != nil {
		return err
	}
	switch {
	case inc.Phase.Closed():
		return fmt.Errorf("incident %s is closed (%s): %s", c.ID, inc.Outcome, printable(inc.Reason))
	case inc.Phase != incident.AwaitingApproval || inc.Plan == nil:
		return fmt.Errorf("incident %s does not wait for an approval; it is %s", c.ID, inc.Phase)
	}
	digest := inc.Plan.Digest()
	if c.Plan != "" && c.Plan != digest {
		return fmt.Errorf("incident %s waits for an answer to plan %s, not to %s", c.ID, digest, c.Plan)
	}
	showPlan(out.Stdout, *inc.Plan, digest)
	answer := struct {
		Approve bool   `json:"approve"`
		Plan    string `json:"plan"`
	}{!c.Deny, digest}
	var given incident.Approval
	if err := c.call(ctx, http.MethodPost, "/api/v1/incidents/"+c.ID+"/approval", answer, &given); err != nil {
		return err
	}
	word := "approved"
	if !given.Approve {
		word = "denied"
	}
	if _, err := fmt.Fprintf(out.Stdout, "%s by %s\n", word, printable(given.By)); err != nil || !given.Approve {
		return err
	}
	// The answer is in; whether it decides is worth a word, and no error.
	var after incident.Incident
	if err := c.get(ctx, "/api/v1/incidents/"+c.ID, &after); err == nil && after.Phase == incident.AwaitingApproval && after.Approval == nil {
		fmt.Fprintln(out.Stdout, "another person has to approve, too")
	}
	return nil
}

// showPlan prints what the answer is about.
func showPlan(w io.Writer, p incident.Plan, digest string) {
	fmt.Fprintf(w, "plan %s\nrunbook %s for %s of %s\n", digest, printable(p.Runbook), p.Cause, printable(p.Target.String()))
	for i, s := range p.Steps {
		what := s.Action
		if s.Preview != nil {
			what = s.Preview.Summary
		}
		fmt.Fprintf(w, "%3d. %s\n", i+1, printable(what))
		if s.Irreversible {
			fmt.Fprintln(w, "     cannot be undone")
		}
	}
}
