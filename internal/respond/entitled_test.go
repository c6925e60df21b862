package respond

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// groups is a double of Slack.
type groups func(group string) ([]string, error)

func (g groups) Members(_ context.Context, group string) ([]string, error) { return g(group) }

func TestEntitled(t *testing.T) {
	t.Parallel()
	r := &Responder{Options: options(nil, &stages{})}
	r.Groups = groups(func(group string) ([]string, error) {
		if group == "S1" {
			return []string{"U3"}, nil
		}
		return nil, errors.New("Slack is away")
	})
	token, user := incident.Approval{Name: "ada"}, incident.Approval{SlackUser: "U1"}
	member, both := incident.Approval{SlackUser: "U3"}, incident.Approval{Name: "ada", SlackUser: "U1"}
	for _, tt := range []struct {
		name string
		who  *incident.Approvers
		a    incident.Approval
		want bool
	}{
		{"no lists, a token", nil, token, true},
		{"no lists, a mapped user", &incident.Approvers{Persons: 2}, both, true},
		{"no lists, a user of Slack", nil, user, false},
		{"nobody", nil, incident.Approval{By: "x"}, false},
		{"listed user", &incident.Approvers{Users: []string{"U1"}}, user, true},
		{"another user", &incident.Approvers{Users: []string{"U2"}}, user, false},
		{"a token and only users listed", &incident.Approvers{Users: []string{"U1"}}, token, false},
		{"a token whose user is listed", &incident.Approvers{Users: []string{"U1"}}, both, true},
		{"a user whose name is listed", &incident.Approvers{Names: []string{"ada"}}, both, true},
		{"an empty name is no name", &incident.Approvers{Names: []string{""}, Users: []string{""}}, incident.Approval{By: "x"}, false},
		{"of the group", &incident.Approvers{Groups: []string{"S1"}}, member, true},
		{"not of the group", &incident.Approvers{Groups: []string{"S1"}}, user, false},
		{"of the second group", &incident.Approvers{Groups: []string{"S2", "S1"}}, member, true},
		{"the group is not known", &incident.Approvers{Groups: []string{"S2"}}, member, false},
		{"a token, and the group is not asked", &incident.Approvers{Groups: []string{"S1"}}, token, false},
	} {
		if err := r.entitled(t.Context(), tt.who, tt.a); (err == nil) != tt.want || err != nil && !errors.Is(err, store.ErrNotApprover) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	r.Groups = nil
	if err := r.entitled(t.Context(), &incident.Approvers{Groups: []string{"S1"}}, member); !errors.Is(err, store.ErrNotApprover) {
		t.Errorf("without Slack: %v", err)
	}
}

// One yes was enough when it was given; before the step the guards want two.
func TestTwoPersonsBeforeActing(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	b := start(t, &stages{decide: func(inc incident.Incident, p incident.Plan) incident.Decision {
		d := askPerson(inc, p)
		if inc.Approval != nil {
			asked.Add(1)
			d.Approval = &incident.Approvers{Persons: 2}
		}
		return d
	}})
	b.ingest(firing("/a"))
	inc := b.awaiting()
	if err := b.Approve(t.Context(), incident.Approval{Incident: inc.ID, Plan: inc.Plan.Digest(), Approve: true, By: "ada", Name: "ada"}); err != nil {
		t.Fatal(err)
	}
	if inc = b.reported(); inc.Outcome != incident.Denied || len(inc.Executions) > 0 || asked.Load() == 0 {
		t.Errorf("outcome %s (%s), %d executions", inc.Outcome, inc.Reason, len(inc.Executions))
	}
}

// What the dry run answered when the plan was shown has to be what it answers at
// the click; only a resourceVersion moves by itself.
func TestMoved(t *testing.T) {
	t.Parallel()
	was := incident.Preview{Before: "0.3 CPU", After: "0.6 CPU", Preconditions: map[string]string{"uid": "u1", "resourceVersion": "7", "generation": "2"}}
	with := func(change func(*incident.Preview)) *incident.Preview {
		p := was
		p.Preconditions = map[string]string{"uid": "u1", "resourceVersion": "9", "generation": "2"}
		change(&p)
		return &p
	}
	for want, now := range map[string]*incident.Preview{
		"":                              with(func(*incident.Preview) {}),
		"it was 0.3 CPU and is 0.4 CPU": with(func(p *incident.Preview) { p.Before = "0.4 CPU" }),
		"would become 0.5 CPU":          with(func(p *incident.Preview) { p.After = "0.5 CPU" }),
		"uid was u1 and is u2":          with(func(p *incident.Preview) { p.Preconditions["uid"] = "u2" }),
		"generation was 2 and is gone":  with(func(p *incident.Preview) { delete(p.Preconditions, "generation") }),
		"there is a dry run once only":  nil,
	} {
		if got := moved(&was, now); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("moved = %q, want %q", got, want)
		}
	}
}

// A dry run that is refused at the click is a reason not to say yes, and none to say no.
func TestDryRunRefusedAtTheClick(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	d := &stages{decide: askPerson}
	d.preview = func(_ context.Context, p incident.Plan) (incident.Plan, error) {
		if asked.Add(1) > 1 {
			return incident.Plan{}, errors.New("the API server is away")
		}
		return p, nil
	}
	b := start(t, d)
	b.ingest(firing("/a"))
	inc := b.awaiting()
	a := incident.Approval{Incident: inc.ID, Plan: inc.Plan.Digest(), Approve: true, By: "ada", Name: "ada"}
	if err := b.Approve(t.Context(), a); !errors.Is(err, store.ErrNotAllowed) || !strings.Contains(err.Error(), "the API server is away") {
		t.Fatalf("yes: %v", err)
	}
	a.Approve = false
	if err := b.Approve(t.Context(), a); err != nil {
		t.Fatalf("no: %v", err)
	}
	if inc = b.reported(); inc.Outcome != incident.Denied {
		t.Errorf("outcome %s", inc.Outcome)
	}
}
