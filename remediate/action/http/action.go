package http

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action"
)

// Sender is the action http.request.
type Sender struct{}

var _ action.Action = (*Sender)(nil)

// NewRequest makes the action http.request.
func NewRequest() *Sender { return &Sender{} }

// Name is http.request.
func (*Sender) Name() string { return Name }

// Params is *Params.
func (*Sender) Params() any { return &Params{} }

// Preview checks the requests and sends the one that the runbook has for a dry
// run, if it has one. It makes the key by which the other side may know the
// request again, which so belongs to the plan.
func (*Sender) Preview(ctx context.Context, _ incident.Target, with map[string]any) (incident.Preview, error) {
	p, err := decode(with)
	if err != nil {
		return incident.Preview{}, err
	}
	key := "kmend-" + rand.Text()
	out := incident.Preview{
		Summary: "send " + p.Request.String(), Before: "not sent", After: "sent",
		Server:        "nobody: the runbook has no preview request",
		Preconditions: map[string]string{}, Apply: map[string]string{"idempotency_key": key},
		Irreversible: p.Undo == nil,
		Once:         !p.Repeatable && (!p.again() || p.Undo != nil && !p.Undo.again()),
	}
	for _, r := range []*Request{&p.Request, p.Undo} { // a secret that is missing shows now
		if r != nil {
			if _, err := r.head(map[string][]string{}); err != nil {
				return incident.Preview{}, err
			}
		}
	}
	if p.Preview != nil {
		said, err := send(ctx, *p.Preview, p, key+"-preview")
		if err != nil {
			return incident.Preview{}, fmt.Errorf("the dry run: %w", err)
		}
		out.Server, out.After = p.Preview.String(), "sent; the dry run says "+said
	}
	return out, nil
}

// Apply sends the request. A status that was not expected is an error: with a
// 4xx nothing was changed, with any other, or without an answer, nobody knows,
// and the account comes with the error, so that Undo is asked.
func (*Sender) Apply(ctx context.Context, _ incident.Target, step incident.Step) (incident.Execution, error) {
	if step.Preview == nil || step.Preview.Apply["idempotency_key"] == "" {
		return incident.Execution{}, errors.New("the step was never previewed")
	}
	p, err := decode(step.With)
	if err != nil {
		return incident.Execution{}, err
	}
	key := step.Preview.Apply["idempotency_key"]
	said, err := send(ctx, p.Request, p, key)
	done := incident.Execution{Before: "not sent", After: "sent, answered with " + said, Result: "applied",
		State: map[string]string{"idempotency_key": key}}
	if _, open := errors.AsType[unsure](err); open {
		done.After = "sent"
		return done, err
	}
	if err != nil {
		return incident.Execution{}, err
	}
	return done, nil
}

// Undo sends the runbook's undo request.
func (*Sender) Undo(ctx context.Context, _ incident.Target, step incident.Step, done incident.Execution) (incident.Execution, error) {
	p, err := decode(step.With)
	if err != nil {
		return incident.Execution{}, err
	}
	if p.Undo == nil {
		return incident.Execution{}, errors.New("the runbook has no undo request")
	}
	if done.State["idempotency_key"] == "" {
		return incident.Execution{}, errors.New("reading what was done: it has no idempotency_key")
	}
	said, err := send(ctx, *p.Undo, p, done.State["idempotency_key"]+"-undo")
	if err != nil {
		return incident.Execution{}, err
	}
	return incident.Execution{Before: "sent", After: fmt.Sprintf("%s was answered with %s", p.Undo, said), Result: "undone"}, nil
}

func decode(with map[string]any) (p Params, err error) {
	if err := action.Decode(with, &p); err != nil {
		return p, err
	}
	return p, p.validate()
}
