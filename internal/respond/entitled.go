package respond

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// membersTimeout bounds how long a group's members are waited for.
const membersTimeout = 10 * time.Second

// asked says who may answer: those that the guards name now, and where they no
// longer ask for anybody, those that they named first.
func asked(first, now incident.Decision) *incident.Approvers {
	if now.Effect == incident.RequireApproval {
		return now.Approval
	}
	return first.Approval
}

// entitled makes sure that the person of an answer may give it. A group whose
// members cannot be asked for lets nobody in.
func (r *Responder) entitled(ctx context.Context, who *incident.Approvers, a incident.Approval) error {
	if who.Lets(a) {
		return nil
	}
	var unknown error
	if who.Listed() && a.SlackUser != "" {
		for _, group := range who.Groups {
			members, err := r.members(ctx, group)
			if err != nil {
				unknown = err
				continue
			}
			if slices.Contains(members, a.SlackUser) {
				return nil
			}
		}
	}
	if unknown != nil {
		r.Logger.Error("a group's members are not known, so none of them may answer now", "incident", a.Incident, "error", unknown)
		return fmt.Errorf("%w: who is in the group is not known now", store.ErrNotApprover)
	}
	return store.ErrNotApprover
}

func (r *Responder) members(ctx context.Context, group string) ([]string, error) {
	if r.Groups == nil {
		return nil, fmt.Errorf("members of group %s: no Slack is configured", group)
	}
	ctx, cancel := context.WithTimeout(ctx, membersTimeout)
	defer cancel()
	return r.Groups.Members(ctx, group)
}

// previewTimeout bounds the dry run at a click: a person waits for the answer.
const previewTimeout = 20 * time.Second

// unchanged asks the systems for their dry run once more and compares: what the
// plan shows is to be what a yes is about. The resourceVersion is left aside. Each
// status update of a busy pod moves it, several times in the minutes that a person
// takes, and says nothing about what the plan changes: uid, generation and the
// resources do, and they are compared here as at the moment of acting.
func (r *Responder) unchanged(ctx context.Context, plan incident.Plan) error {
	ctx, cancel := context.WithTimeout(ctx, min(previewTimeout, r.StageTimeout))
	defer cancel()
	again, err := r.Executor.Preview(ctx, plan)
	if err != nil {
		return fmt.Errorf("%w: the dry run, asked again: %w", store.ErrNotAllowed, err)
	}
	if len(again.Steps) != len(plan.Steps) {
		return fmt.Errorf("%w: the dry run, asked again, has %d steps", store.ErrNotAllowed, len(again.Steps))
	}
	for i, step := range plan.Steps {
		if what := moved(step.Preview, again.Steps[i].Preview); what != "" {
			return fmt.Errorf("%w: the target has changed since the plan was shown: step %d: %s", store.ErrNotAllowed, i+1, what)
		}
	}
	return nil
}

// moved names what differs between the answers of two dry runs, "" when nothing
// that counts does. The name of a job is made up anew by each dry run.
func moved(was, now *incident.Preview) string {
	switch {
	case was == nil && now == nil:
		return "" // none was shown
	case was == nil || now == nil:
		return "there is a dry run once only"
	case was.Before != now.Before:
		return fmt.Sprintf("it was %s and is %s", was.Before, now.Before)
	case was.After != strings.ReplaceAll(now.After, cmp.Or(now.Preconditions["job"], "\x00"), was.Preconditions["job"]):
		return fmt.Sprintf("it would become %s, not %s", now.After, was.After)
	}
	for _, name := range slices.Sorted(maps.Keys(was.Preconditions)) {
		if v := now.Preconditions[name]; name != "resourceVersion" && name != "job" && v != was.Preconditions[name] {
			return fmt.Sprintf("%s was %s and is %s", name, was.Preconditions[name], or(v, "gone"))
		}
	}
	return ""
}
