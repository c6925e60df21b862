package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kmend/kmend/incident"
)

// move asks for the failover from s.master to one of to and waits for its end.
// What the servers refuse has changed nothing. Where the end is not seen, the
// account comes with the error, so that Undo looks again.
func (a *Failover) move(ctx context.Context, r *run, s state, from string, to []string) (incident.Execution, error) {
	asked := r.system.move(ctx, s, to[0])
	if _, refused := errors.AsType[refusal](asked); refused {
		return incident.Execution{}, fmt.Errorf("%w; nothing was changed", asked)
	}
	now, err := a.settle(ctx, r, from, to)
	if err == nil { // an answer that was lost is as good as one that came
		return account(from, now, "applied"), nil
	}
	err = errors.Join(asked, fmt.Errorf("waiting for the failover: %w", err))
	if now.master == from && now.moving == "" && now.epoch == s.epoch && ctx.Err() == nil {
		return incident.Execution{}, fmt.Errorf("%w; %s is still the master: nothing was changed", err, from)
	}
	// The epoch is left open: nobody saw which one this failover has.
	return incident.Execution{Before: "master " + from, After: "a failover whose end was not seen", Result: "applied",
		State: map[string]string{"from": from, "to": strings.Join(to, " ")}}, err
}

// settle waits until everybody takes one of to for the master, it serves, and
// from replicates from it. It returns the last that was seen; the error says
// what is still missing.
func (a *Failover) settle(ctx context.Context, r *run, from string, to []string) (last state, err error) {
	return a.until(ctx, func(ctx context.Context) (state, error) {
		s, err := r.system.look(ctx)
		switch {
		case err != nil:
			return s, err
		case s.moving != "":
			return s, errors.New(s.moving)
		case !slices.Contains(to, s.master):
			return s, fmt.Errorf("%s is the master", s.master)
		}
		master, err := r.servers.info(ctx, s.master)
		if err != nil {
			return s, err
		}
		if err := master.leads(); err != nil {
			return s, fmt.Errorf("%s: %w", s.master, err)
		}
		old, err := r.servers.info(ctx, from)
		if err != nil {
			return s, err
		}
		if err := old.follows(master); err != nil {
			return s, fmt.Errorf("the old master %s does not replicate from %s: %w", from, s.master, err)
		}
		return s, nil
	})
}

// ended waits for the end of a failover that is under way.
func (a *Failover) ended(ctx context.Context, r *run) (state, error) {
	return a.until(ctx, func(ctx context.Context) (state, error) {
		s, err := r.system.look(ctx)
		if err == nil && s.moving != "" {
			err = s.calm()
		}
		return s, err
	})
}

// rest waits until a failover could begin, or none has to: from is the master.
func (a *Failover) rest(ctx context.Context, r *run, from string) (state, error) {
	return a.until(ctx, func(ctx context.Context) (state, error) {
		s, err := r.system.look(ctx)
		if err == nil && (s.moving != "" || s.master != from) {
			err = s.calm()
		}
		return s, err
	})
}

// until looks again and again until there is no error, for Options.Wait at most.
func (a *Failover) until(ctx context.Context, look func(context.Context) (state, error)) (last state, err error) {
	end := time.Now().Add(a.opts.Wait)
	tick := time.NewTicker(a.opts.Poll)
	defer tick.Stop()
	for {
		var s state
		s, err = look(ctx)
		if s.master != "" || err == nil {
			last = s
		}
		if err == nil {
			return last, nil
		}
		if time.Now().After(end) {
			return last, fmt.Errorf("after %s: %w", a.opts.Wait, err)
		}
		select {
		case <-ctx.Done():
			return last, fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		case <-tick.C:
		}
	}
}
