package systemd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action"
)

// RestartName is what runbooks write for RestartUnit.
const RestartName = "systemd.restart_unit"

// RestartParams are the parameters of systemd.restart_unit: none.
type RestartParams struct{}

// RestartUnit is the action systemd.restart_unit. What was in the process is gone.
type RestartUnit struct{ opts Options }

var _ action.Action = (*RestartUnit)(nil)

// NewRestartUnit makes the action for this node.
func NewRestartUnit(opts Options) (*RestartUnit, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	return &RestartUnit{opts}, nil
}

// Name is systemd.restart_unit.
func (*RestartUnit) Name() string { return RestartName }

// Params is *RestartParams.
func (*RestartUnit) Params() any { return &RestartParams{} }

// Irreversible is true: every plan with it needs a person's approval.
func (*RestartUnit) Irreversible() bool { return true }

// Preview reads which run of the unit would be ended.
func (a *RestartUnit) Preview(ctx context.Context, target incident.Target, with map[string]any) (incident.Preview, error) {
	if err := action.Decode(with, &RestartParams{}); err != nil {
		return incident.Preview{}, err
	}
	m, err := connect(ctx, a.opts)
	if err != nil {
		return incident.Preview{}, err
	}
	defer m.Close()
	u, err := m.find(ctx, target)
	if err != nil {
		return incident.Preview{}, err
	}
	can, _ := u.props["CanStart"].(bool)
	if refused, _ := u.props["RefuseManualStop"].(bool); u.kind != "Service" || refused || !can {
		return incident.Preview{}, fmt.Errorf("unit %s cannot be restarted: it is a scope, or refuses to be started or stopped by hand", u.name)
	}
	state := map[string]string{"unit": u.name, "invocation": u.invocation()}
	return incident.Preview{
		Summary: fmt.Sprintf("restart unit %s (main process %v)", u.name, u.props["MainPID"]),
		Before:  "running", After: "restarted", Server: "systemd read", Preconditions: state, Apply: state,
	}, nil
}

// Apply restarts the run of the unit that Preview saw. Where another one runs by
// now, the unit was restarted since: "already applied".
func (a *RestartUnit) Apply(ctx context.Context, target incident.Target, step incident.Step) (incident.Execution, error) {
	if step.Preview == nil {
		return incident.Execution{}, errors.New("the step was never previewed")
	}
	name, before := step.Preview.Apply["unit"], step.Preview.Apply["invocation"]
	m, err := connect(ctx, a.opts)
	if err != nil {
		return incident.Execution{}, err
	}
	defer m.Close()
	// By the name: the process that was the target may be gone after a crash in this step.
	u, err := m.find(ctx, incident.Target{Node: target.Node, Unit: name})
	if err != nil {
		return incident.Execution{}, err
	}
	done := incident.Execution{Before: "running", After: "restarted", Result: "already applied", State: map[string]string{"unit": name, "invocation": before}}
	if u.invocation() != before {
		return done, nil
	}
	if _, err := m.RestartUnitContext(ctx, name, "replace", nil); err != nil {
		return incident.Execution{}, fmt.Errorf("restarting unit %s: %w", name, err)
	}
	done.Result = "applied"
	if err := m.restarted(ctx, name, before); err != nil {
		done.After = "not running"
		return done, err
	}
	return done, nil
}

// restarted waits until another run of the unit is active.
func (m *manager) restarted(ctx context.Context, name, before string) error {
	tick := time.NewTicker(m.opts.Poll)
	defer tick.Stop()
	for {
		props, err := m.GetUnitPropertiesContext(ctx, name)
		if err != nil {
			return fmt.Errorf("waiting for unit %s: %w", name, err)
		}
		u := unit{name: name, props: props}
		state := u.text("ActiveState")
		switch {
		case u.invocation() != before && state == "active":
			return nil
		case state == "failed" || state == "inactive" && u.text("Result") != "" && u.invocation() != before:
			return fmt.Errorf("unit %s did not come up again: it is %s; see journalctl -u %s", name, state, name)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for unit %s, which is %s: %w", name, state, context.Cause(ctx))
		}
	}
}

// Undo is an error: a restart cannot be undone.
func (*RestartUnit) Undo(_ context.Context, _ incident.Target, _ incident.Step, done incident.Execution) (incident.Execution, error) {
	return incident.Execution{}, fmt.Errorf("unit %s was restarted: that cannot be undone", done.State["unit"])
}
