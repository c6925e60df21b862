package respond

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// replica is kmend as one of several processes on one PostgreSQL. Every incident
// of it has a world of its own, named as the point where the replica that has
// Points hangs with it: all of them at the same time.
func (c child) replica(ctx context.Context) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	o := options(s, c.worlds())
	o.ExecutorID, o.ActDeadline, o.SweepInterval = c.Replica, time.Hour, 30*time.Second
	o.MaxDiagnoses, o.MaxDiagnosesPerNode = 1000, 1000
	o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("me", c.Replica)
	r, err := New(o)
	if err != nil {
		return err
	}
	if err := r.Start(ctx); err != nil {
		return err
	}
	for _, point := range c.Points {
		if point == "ingested" { // and dies before it starts the workflow
			_, err = s.Ingest(ctx, r.split(firing(point)), 100)
			c.mark("reached", point)
		} else {
			err = r.Ingest(ctx, firing(point))
		}
		if err != nil {
			return err
		}
	}
	c.mark("up", c.Replica)
	for sleep(ctx, 20*time.Millisecond) == nil {
		select {
		case <-r.Lost():
			c.mark("lost", c.Replica)
			return errors.New("another replica has taken over")
		default:
		}
		if len(c.Points) > 0 {
			c.answer(ctx, s, r)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	return r.Stop(ctx)
}

// answer says yes to everything but what is to be found waiting.
func (c child) answer(ctx context.Context, s *store.Store, r *Responder) {
	list, err := s.List(ctx, store.Filter{Phase: incident.AwaitingApproval})
	if err != nil {
		return // the database is away
	}
	for _, inc := range list {
		switch {
		case inc.Target.Cgroup == "awaiting":
			c.mark("reached", "awaiting")
		case inc.Approval == nil:
			_ = r.Approve(ctx, incident.Approval{Incident: inc.ID, Plan: inc.Plan.Digest(), Approve: true, By: "ada", Name: "ada"})
		}
	}
}

// mark leaves an empty file for the test to find.
func (c child) mark(what, name string) {
	if err := os.WriteFile(filepath.Join(c.Dir, what+" "+name), nil, 0o600); err != nil {
		panic(err)
	}
}

func (c child) marked(what, name string) bool {
	_, err := os.Stat(filepath.Join(c.Dir, what+" "+name))
	return err == nil
}

// worlds are stages whose every target has a world in a folder of its own.
func (c child) worlds() *stages {
	place := func(t incident.Target) child {
		w := child{Dir: filepath.Join(c.Dir, "world "+t.Cgroup)}
		if err := os.MkdirAll(w.Dir, 0o700); err != nil {
			panic(err)
		}
		return w
	}
	// hang waits at the incident's point, in the replica that hangs, as a call that is
	// under way does: it ends with ctx. Who lets it go on says so with a file.
	hang := func(ctx context.Context, t incident.Target, at string) error {
		if len(c.Points) == 0 || t.Cgroup != at {
			return nil
		}
		c.mark("reached", at)
		for !c.marked("go", at) {
			if err := sleep(ctx, 5*time.Millisecond); err != nil {
				return err
			}
		}
		return sleep(ctx, 20*time.Millisecond) // the answer takes its time
	}
	effect := func(ctx context.Context, t incident.Target, act string, step int, done, already string) (incident.Execution, error) {
		w, what := place(t), fmt.Sprintf("%s %d", act, step)
		if err := hang(ctx, t, "before "+what); err != nil {
			return incident.Execution{}, err
		}
		e := incident.Execution{State: map[string]string{"was": "0.3"}, Result: w.effect(nil, act, step, done, already)}
		return e, hang(ctx, t, "after "+what)
	}
	d := &stages{}
	d.diagnose = func(ctx context.Context, t incident.Target, _ time.Duration) (incident.Diagnosis, error) {
		nth := "diagnose 1"
		if slices.Contains(readLines(place(t).Dir, "world"), "effect apply 1") {
			nth = "diagnose 2"
		}
		return throttled(t), hang(ctx, t, nth)
	}
	d.preview = func(ctx context.Context, p incident.Plan) (incident.Plan, error) {
		return p, hang(ctx, p.Target, "preview")
	}
	d.decide = func(inc incident.Incident, p incident.Plan) incident.Decision {
		at := "decide 1"
		if inc.Approval != nil {
			at = "decide 2"
		}
		_ = hang(context.Background(), inc.Target, at) // a guard does not hear of the lease
		return askPerson(inc, p)
	}
	d.apply = func(ctx context.Context, p incident.Plan, step int) (incident.Execution, error) {
		return effect(ctx, p.Target, "apply", step, "applied", "already applied")
	}
	d.undo = func(ctx context.Context, p incident.Plan, done incident.Execution) (incident.Execution, error) {
		return effect(ctx, p.Target, "undo", done.Step, "undone", "undone")
	}
	d.verify = func(p incident.Plan, before, after incident.Diagnosis) incident.Verification {
		if strings.Contains(p.Target.Cgroup, "undo") {
			return worse(p, before, after)
		}
		return incident.Verification{Cause: p.Cause, Better: true, Reason: "better", Diagnosis: after}
	}
	d.notify = func(ctx context.Context, inc incident.Incident) error { return hang(ctx, inc.Target, "notify") }
	return d
}
