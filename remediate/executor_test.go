package remediate_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate"
)

// light is an action on a lamp in memory.
type light struct {
	name   string
	on     bool
	refuse error
	params any
}

func (l *light) Name() string { return l.name }
func (l *light) Params() any  { return l.params }
func (l *light) Preview(_ context.Context, _ incident.Target, _ map[string]any) (incident.Preview, error) {
	return incident.Preview{Summary: "switch on", Before: "off", After: "on"}, l.refuse
}
func (l *light) Apply(context.Context, incident.Target, incident.Step) (incident.Execution, error) {
	if l.on {
		return incident.Execution{Result: "already applied"}, nil
	}
	l.on = l.refuse == nil
	return incident.Execution{Result: "applied", State: map[string]string{"was": "off"}}, l.refuse
}
func (l *light) Undo(_ context.Context, _ incident.Target, _ incident.Step, done incident.Execution) (incident.Execution, error) {
	if done.State["was"] != "off" {
		return incident.Execution{}, errors.New("no state")
	}
	l.on = false
	return incident.Execution{Result: "undone"}, nil
}

// fuse says that it cannot be undone when it is asked what it would do.
type fuse struct{ light }

func (*fuse) Preview(context.Context, incident.Target, map[string]any) (incident.Preview, error) {
	return incident.Preview{Irreversible: true}, nil
}

// An action may be undone in one step and not in another: its preview says so.
func TestPreviewMakesAStepIrreversible(t *testing.T) {
	e, err := remediate.New(&fuse{light{name: "fuse.blow", params: &struct{}{}}}, lamp())
	if err != nil {
		t.Fatal(err)
	}
	plan, err := e.Preview(t.Context(), incident.Plan{Steps: []incident.Step{{Action: "fuse.blow"}, {Action: "lamp.on"}}})
	if err != nil || !plan.Steps[0].Irreversible || plan.Steps[1].Irreversible || !plan.Irreversible() {
		t.Errorf("%+v, %v", plan.Steps, err)
	}
}

type siren struct{ light }

func (*siren) Irreversible() bool { return true }

func lamp() *light { return &light{name: "lamp.on", params: &struct{}{}} }

func TestNewRefuses(t *testing.T) {
	for want, actions := range map[string][]*light{
		"the name is taken":             {lamp(), lamp()},
		"of the form system.what":       {{name: "lamp", params: &struct{}{}}},
		"must be a pointer to a struct": {{name: "lamp.on", params: struct{}{}}},
	} {
		var err error
		if len(actions) == 2 {
			_, err = remediate.New(actions[0], actions[1])
		} else {
			_, err = remediate.New(actions[0])
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New: %v, want %q", err, want)
		}
	}
}

func TestSpecs(t *testing.T) {
	l := lamp()
	e, err := remediate.New(&siren{light{name: "zebra.call", params: &struct{}{}}}, l)
	if err != nil {
		t.Fatal(err)
	}
	want := []remediate.Spec{{Name: "lamp.on", Params: l.params}, {Name: "zebra.call", Params: &struct{}{}, Irreversible: true}}
	if got := e.Specs(); !reflect.DeepEqual(got, want) {
		t.Errorf("Specs() = %+v", got)
	}
}

func TestExecutorRunsAStep(t *testing.T) {
	ctx, l := context.Background(), lamp()
	e, err := remediate.New(l)
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	e.Counted(remediate.NewMetrics(reg))
	bare := incident.Plan{Steps: []incident.Step{{Action: "lamp.on"}}}
	if _, err := e.Apply(ctx, bare, 0); err == nil || !strings.Contains(err.Error(), "never previewed") {
		t.Fatalf("a step that was never previewed was applied: %v", err)
	}
	plan, err := e.Preview(ctx, bare)
	if err != nil || plan.Steps[0].Preview == nil || plan.Steps[0].Preview.After != "on" {
		t.Fatalf("Preview: %+v, %v", plan, err)
	}
	if bare.Steps[0].Preview != nil {
		t.Error("Preview wrote into the plan it was given")
	}
	if l.on {
		t.Fatal("Preview acted")
	}
	done, err := e.Apply(ctx, plan, 0)
	if err != nil || !l.on || done.Result != "applied" || done.Action != "lamp.on" || done.Started.IsZero() || done.Ended.Before(done.Started) {
		t.Fatalf("Apply: %+v, %v", done, err)
	}
	if again, err := e.Apply(ctx, plan, 0); err != nil || again.Result != "already applied" {
		t.Fatalf("second Apply: %+v, %v", again, err)
	}
	if x, err := e.Undo(ctx, plan, done); err != nil || l.on || x.Result != "undone" {
		t.Fatalf("Undo: %+v, %v", x, err)
	}
	want := `
# HELP kmend_remediate_actions_total Calls of actions by action, operation (preview, apply, undo) and result (ok, applied, already_applied, undone, error).
# TYPE kmend_remediate_actions_total counter
kmend_remediate_actions_total{action="lamp.on",operation="apply",result="already_applied"} 1
kmend_remediate_actions_total{action="lamp.on",operation="apply",result="applied"} 1
kmend_remediate_actions_total{action="lamp.on",operation="apply",result="error"} 0
kmend_remediate_actions_total{action="lamp.on",operation="preview",result="error"} 0
kmend_remediate_actions_total{action="lamp.on",operation="preview",result="ok"} 1
kmend_remediate_actions_total{action="lamp.on",operation="undo",result="error"} 0
kmend_remediate_actions_total{action="lamp.on",operation="undo",result="undone"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestExecutorErrors(t *testing.T) {
	ctx, l := context.Background(), lamp()
	e, err := remediate.New(l)
	if err != nil {
		t.Fatal(err)
	}
	ready := incident.Plan{Steps: []incident.Step{{Action: "lamp.on", Preview: &incident.Preview{}}}}
	unknown := incident.Plan{Steps: []incident.Step{{Action: "lamp.off", Preview: &incident.Preview{}}}}
	l.refuse = errors.New("the fuse is out")
	for name, c := range map[string]struct {
		call func() error
		want string
	}{
		"preview": {func() error { _, err := e.Preview(ctx, ready); return err }, "previewing step 1 (lamp.on): the fuse is out"},
		"unknown": {func() error { _, err := e.Preview(ctx, unknown); return err }, `no action "lamp.off" here; there are: lamp.on`},
		"apply":   {func() error { _, err := e.Apply(ctx, ready, 0); return err }, "applying step 1 (lamp.on): the fuse is out"},
		"index":   {func() error { _, err := e.Apply(ctx, ready, 1); return err }, "applying step 2: the plan has 1 steps"},
		"below":   {func() error { _, err := e.Apply(ctx, ready, -1); return err }, "applying step 0"},
		"undo":    {func() error { _, err := e.Undo(ctx, ready, incident.Execution{Action: "lamp.on"}); return err }, "undoing step 1 (lamp.on): no state"},
		"other": {func() error { _, err := e.Undo(ctx, ready, incident.Execution{Action: "x.y"}); return err },
			"it is lamp.on in the plan but x.y was executed"},
	} {
		if err := c.call(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
