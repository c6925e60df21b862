package redis_test

import (
	"strings"
	"testing"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action/redis"
)

// none is the target: which Redis it is comes from the runbook.
var none = incident.Target{}

func sentinelAction(t *testing.T) *redis.Failover {
	t.Helper()
	a, err := redis.NewSentinelFailover(redis.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func clusterAction(t *testing.T) *redis.Failover {
	t.Helper()
	a, err := redis.NewClusterFailover(redis.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// preview makes the step of a plan.
func preview(t *testing.T, a *redis.Failover, with map[string]any) incident.Step {
	t.Helper()
	p, err := a.Preview(t.Context(), none, with)
	if err != nil {
		t.Fatal(err)
	}
	return incident.Step{Action: a.Name(), With: with, Preview: &p}
}

func apply(t *testing.T, a *redis.Failover, step incident.Step) incident.Execution {
	t.Helper()
	x, err := a.Apply(t.Context(), none, step)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// refused checks that neither Preview nor Apply of a plan made before does
// anything, and that both say why.
func refused(t *testing.T, a *redis.Failover, step incident.Step, with map[string]any, want string) {
	t.Helper()
	if _, err := a.Preview(t.Context(), none, with); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Preview: %v, want %q", err, want)
	}
	if step.Preview == nil {
		return
	}
	step.With = with
	x, err := a.Apply(t.Context(), none, step)
	if err == nil || !strings.Contains(err.Error(), want) || x.State != nil {
		t.Errorf("Apply: %+v, %v, want %q and nothing done", x, err, want)
	}
}

// but is with, changed.
func but(with map[string]any, key string, value any) map[string]any {
	out := map[string]any{}
	for k, v := range with {
		out[k] = v
	}
	out[key] = value
	return out
}

// refusedApply checks that Apply does nothing, and says why.
func refusedApply(t *testing.T, a *redis.Failover, step incident.Step, want string) {
	t.Helper()
	x, err := a.Apply(t.Context(), none, step)
	if err == nil || !strings.Contains(err.Error(), want) || x.State != nil {
		t.Errorf("Apply: %+v, %v, want %q and nothing done", x, err, want)
	}
}

// unplanned is for what Preview refuses already.
var unplanned incident.Step
