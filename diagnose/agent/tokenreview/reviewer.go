package tokenreview

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// maxAtOnce bounds the questions to the API server: whoever reaches the agent can
// present tokens, and must not be able to make every agent ask without end.
const maxAtOnce = 4

// Reviewer says of callers' tokens whether they are let in. It is safe for
// concurrent use.
type Reviewer struct {
	o       Options
	http    *http.Client
	places  chan struct{}
	letIn   *cache
	refused *cache
	now     func() time.Time
}

// New makes a reviewer. It reads the agent's own token and CA once, so that a pod
// without them says so when it starts.
func New(o Options) (*Reviewer, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("token review: %w", err)
	}
	if _, err := o.token(); err != nil {
		return nil, fmt.Errorf("token review: %w", err)
	}
	if _, err := o.tls(); err != nil {
		return nil, fmt.Errorf("token review: %w", err)
	}
	return &Reviewer{
		o: o, http: o.client(), places: make(chan struct{}, maxAtOnce),
		letIn: newCache(keepLetIn), refused: newCache(keepRefused), now: time.Now,
	}, nil
}

// Close lets the idle connections go.
func (r *Reviewer) Close() { r.http.CloseIdleConnections() }

// refusal is what the API server's answer makes of a token, in words for the
// caller. Other errors are that there was no answer.
type refusal string

func (r refusal) Error() string { return string(r) }

// Check is nil for a token that is let in. The error says why it is not and what
// to do; the token is not in it. Without an answer of the API server nobody is
// let in.
func (r *Reviewer) Check(ctx context.Context, token string) error {
	err := r.check(ctx, token)
	result := letIn
	if err != nil {
		result = unchecked
		if _, ok := errors.AsType[refusal](err); ok {
			result = refused
		}
	}
	r.o.Metrics.callers.WithLabelValues(result).Inc()
	if result == unchecked && ctx.Err() == nil {
		r.o.Logger.Warn("a caller could not be checked, and was refused", "reason", err)
	}
	return err
}

func (r *Reviewer) check(ctx context.Context, token string) error {
	if token == "" {
		return refusal("there is no bearer token: " + r.advice())
	}
	k := key(sha256.Sum256([]byte(token)))
	if a, ok := r.known(k); ok {
		return a.err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.o.Timeout, fmt.Errorf("no answer within %s", r.o.Timeout))
	defer cancel()
	select {
	case r.places <- struct{}{}:
		defer func() { <-r.places }()
	case <-ctx.Done():
		return fmt.Errorf("checking the token: %d others are being checked: %w; until then nobody is let in", maxAtOnce, context.Cause(ctx))
	}
	if a, ok := r.known(k); ok { // who waited for a place may have waited for this answer
		return a.err
	}
	asked := r.now()
	s, err := r.ask(ctx, token)
	if err != nil {
		return fmt.Errorf("checking the token: %w; until then nobody is let in", err)
	}
	err = r.judge(s)
	if err != nil {
		r.refused.put(k, err, asked)
		return err
	}
	r.letIn.put(k, nil, asked)
	return nil
}

func (r *Reviewer) known(k key) (answer, bool) {
	now := r.now()
	if a, ok := r.letIn.get(k, now); ok {
		return a, true
	}
	return r.refused.get(k, now)
}

// judge decides on an answer. An API server that does not know audiences, or a
// token that has none, leaves status.audiences empty: the token is then good for
// the API server and not for an agent.
func (r *Reviewer) judge(s status) error {
	switch {
	case !s.Authenticated:
		return refusal(fmt.Sprintf("the token is not valid for the audience %q (the API server says: %s): %s", r.o.Audience, bounded(s.Error), r.advice()))
	case !slices.Contains(s.Audiences, r.o.Audience):
		return refusal(fmt.Sprintf("the token is not for the audience %q but for %s: %s", r.o.Audience, bounded(fmt.Sprintf("%q", s.Audiences)), r.advice()))
	case s.User.Username != r.o.user():
		return refusal(fmt.Sprintf("the token is %s's, and only %s may ask this agent: run kmend as that service account, or start the agents with --caller NAMESPACE/NAME of kmend's own",
			bounded(s.User.Username), r.o.user()))
	}
	return nil
}

func (r *Reviewer) advice() string {
	return fmt.Sprintf("project a serviceAccountToken of %s with the audience %s into kmend's pod, and name its file in agents.tokenFile", r.o.Caller, r.o.Audience)
}
