package remediate

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action"
)

// Executor finds the action of each step by its name and runs it. It is safe
// for concurrent use as far as its actions are.
type Executor struct {
	actions map[string]action.Action
	metrics *Metrics // nil: not counted
}

// Spec describes an action to those who check runbooks.
type Spec struct {
	Name         string
	Params       any // pointer to a zero struct, see action.Action.Params
	Irreversible bool
}

// New registers actions by name. Two actions with one name, a name that is not
// of the form system.what, and Params that are not a pointer to a struct are errors.
func New(actions ...action.Action) (*Executor, error) {
	e := &Executor{actions: make(map[string]action.Action, len(actions))}
	for _, a := range actions {
		name := a.Name()
		if system, what, ok := strings.Cut(name, "."); !ok || system == "" || what == "" {
			return nil, fmt.Errorf("registering action %q: the name must be of the form system.what", name)
		}
		if _, twice := e.actions[name]; twice {
			return nil, fmt.Errorf("registering action %q: the name is taken", name)
		}
		if t := reflect.TypeOf(a.Params()); t == nil || t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
			return nil, fmt.Errorf("registering action %q: Params is %v, must be a pointer to a struct", name, t)
		}
		e.actions[name] = a
	}
	return e, nil
}

// Counted makes e count in m what it does, and returns e.
func (e *Executor) Counted(m *Metrics) *Executor {
	e.metrics = m
	for name := range e.actions { // an alert on a rate needs a zero first
		for _, operation := range []string{"preview", "apply", "undo"} {
			m.actions.WithLabelValues(name, operation, "error")
		}
	}
	return e
}

// Specs describes every registered action, in the order of their names.
func (e *Executor) Specs() []Spec {
	var out []Spec
	for _, name := range slices.Sorted(maps.Keys(e.actions)) {
		a := e.actions[name]
		i, ok := a.(interface{ Irreversible() bool })
		out = append(out, Spec{Name: name, Params: a.Params(), Irreversible: ok && i.Irreversible()})
	}
	return out
}

// Preview asks each step's action for its dry run and returns a copy of the plan
// with the answers filled in. It changes nothing. The first step whose dry run
// is refused is the error: a plan is shown whole or not at all.
func (e *Executor) Preview(ctx context.Context, plan incident.Plan) (incident.Plan, error) {
	plan.Steps = slices.Clone(plan.Steps)
	for i := range plan.Steps {
		step := &plan.Steps[i]
		a, err := e.action(*step)
		if err == nil {
			var p incident.Preview
			if p, err = a.Preview(ctx, plan.Target, step.With); err == nil {
				step.Preview = &p
				step.Irreversible = step.Irreversible || p.Irreversible
			}
		}
		e.metrics.count(step.Action, "preview", outcome("ok", err))
		if err != nil {
			return incident.Plan{}, fmt.Errorf("previewing step %d (%s): %w", i+1, step.Action, err)
		}
	}
	return plan, nil
}

// Apply runs the step with the index given: the action reads the real state,
// checks the preview's preconditions, and acts unless the state is as wanted
// already. On an error nothing stays changed, unless the Execution that is
// returned with it has a Result: then that is what stays, and Undo can take it.
func (e *Executor) Apply(ctx context.Context, plan incident.Plan, step int) (incident.Execution, error) {
	if step < 0 || step >= len(plan.Steps) {
		return incident.Execution{}, fmt.Errorf("applying step %d: the plan has %d steps", step+1, len(plan.Steps))
	}
	s := plan.Steps[step]
	a, err := e.action(s)
	if err != nil {
		return incident.Execution{}, fmt.Errorf("applying step %d: %w", step+1, err)
	}
	if s.Preview == nil {
		return incident.Execution{}, fmt.Errorf("applying step %d (%s): it was never previewed", step+1, s.Action)
	}
	started := time.Now()
	x, err := a.Apply(ctx, plan.Target, s)
	if err != nil {
		err = fmt.Errorf("applying step %d (%s): %w", step+1, s.Action, err)
	}
	e.metrics.count(s.Action, "apply", outcome(x.Result, err))
	return account(x, step, s.Action, started), err
}

// Undo puts back what the execution done changed. State that is back already is
// no error; state that somebody else changed since is one, and stays as it is.
func (e *Executor) Undo(ctx context.Context, plan incident.Plan, done incident.Execution) (incident.Execution, error) {
	if done.Step < 0 || done.Step >= len(plan.Steps) {
		return incident.Execution{}, fmt.Errorf("undoing step %d: the plan has %d steps", done.Step+1, len(plan.Steps))
	}
	s := plan.Steps[done.Step]
	if s.Action != done.Action {
		return incident.Execution{}, fmt.Errorf("undoing step %d: it is %s in the plan but %s was executed", done.Step+1, s.Action, done.Action)
	}
	a, err := e.action(s)
	if err != nil {
		return incident.Execution{}, fmt.Errorf("undoing step %d: %w", done.Step+1, err)
	}
	started := time.Now()
	x, err := a.Undo(ctx, plan.Target, s, done)
	if err != nil {
		err = fmt.Errorf("undoing step %d (%s): %w", done.Step+1, s.Action, err)
	}
	e.metrics.count(s.Action, "undo", outcome(x.Result, err))
	return account(x, done.Step, s.Action, started), err
}

func (e *Executor) action(s incident.Step) (action.Action, error) {
	a, ok := e.actions[s.Action]
	if !ok {
		known := strings.Join(slices.Sorted(maps.Keys(e.actions)), ", ")
		return nil, fmt.Errorf("no action %q here; there are: %s", s.Action, known)
	}
	return a, nil
}

// account fills in what the action need not know.
func account(x incident.Execution, step int, name string, started time.Time) incident.Execution {
	x.Step, x.Action = step, name
	x.Started, x.Ended = started.UTC(), time.Now().UTC()
	return x
}
