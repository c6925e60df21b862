package diagnose

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kmend/kmend/diagnose/cause"
	"github.com/kmend/kmend/incident"
)

// Diagnoser is respond's diagnoser.
type Diagnoser struct {
	opts  Options
	pods  podLookup
	agent choice
}

// obstacleError is a reason why nothing can be measured: it becomes the message of
// an inconclusive diagnosis.
type obstacleError string

func (o obstacleError) Error() string { return string(o) }

// New makes a Diagnoser.
func New(opts Options) (*Diagnoser, error) {
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("making a diagnoser: %w", err)
	}
	return &Diagnoser{opts: opts, pods: podLookup{opts.Kubernetes}, agent: newChoice(opts)}, nil
}

// Diagnose measures the target for the window on its node and says what it means.
// Whatever stands in the way on the side of the target or of an agent is an
// inconclusive diagnosis with the reason. An error is for what may work when
// tried again: the Kubernetes API does not answer, ctx ended.
func (d *Diagnoser) Diagnose(ctx context.Context, target incident.Target, window time.Duration) (incident.Diagnosis, error) {
	start := time.Now()
	located, diagnosis, err := d.diagnose(ctx, target, window)
	if reason, ok := errors.AsType[obstacleError](err); ok {
		diagnosis, err = inconclusive(located, start, window, string(reason)), nil
	}
	if err != nil {
		return incident.Diagnosis{}, fmt.Errorf("diagnosing %s: %w", target, err)
	}
	d.opts.Metrics.observe(diagnosis, time.Since(start), window)
	return diagnosis, nil
}

// diagnose also says what is known of the target, whatever stands in the way then.
func (d *Diagnoser) diagnose(ctx context.Context, asked incident.Target, window time.Duration) (target incident.Target, _ incident.Diagnosis, err error) {
	if asked.Many() {
		return asked, incident.Diagnosis{}, obstacleError(fmt.Sprintf("%s is measured by its pods, and who knows them is not configured; set kubernetes.enabled in kmend.yaml", asked))
	}
	if target, err = d.pods.locate(ctx, asked); err != nil {
		return asked, incident.Diagnosis{}, err
	}
	agent, err := d.agent.of(ctx, target)
	if err != nil {
		return target, incident.Diagnosis{}, err
	}
	m, err := d.measure(ctx, agent, target, window)
	if err != nil {
		return target, incident.Diagnosis{}, err
	}
	if agent.node != "" && m.Node.Name != "" && !sameNode(agent.node, m.Node.Name) {
		return target, incident.Diagnosis{}, obstacleError(fmt.Sprintf("%s says that it is on node %s; correct agents.static, or the agent's node name", agent.name, quote(m.Node.Name)))
	}
	diagnosis := cause.Diagnose(m)
	diagnosis.Target = merge(target, m.Target)
	return target, diagnosis, nil
}

// pause is between two questions to an agent that is busy.
const pause = 250 * time.Millisecond

// measure asks one agent, again while it is busy: in a storm of alerts each
// target has its turn.
func (d *Diagnoser) measure(ctx context.Context, a agent, target incident.Target, window time.Duration) (incident.Measurement, error) {
	patience := time.Now().Add(d.opts.Patience)
	for {
		m, err := d.ask(ctx, a, target, window)
		switch {
		case err == nil:
			return m, nil
		case ctx.Err() != nil:
			return m, context.Cause(ctx)
		case !errors.Is(err, ErrBusy):
			return m, obstacleError(fmt.Sprintf("%s: %v", a.name, err))
		case time.Now().After(patience):
			return m, obstacleError(fmt.Sprintf("%s: %v; it was asked for %s", a.name, err, d.opts.Patience))
		}
		select {
		case <-ctx.Done():
			return m, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// ask asks one agent once and does not wait longer than the window and the margin.
func (d *Diagnoser) ask(ctx context.Context, a agent, target incident.Target, window time.Duration) (incident.Measurement, error) {
	limit := window + d.opts.Margin
	late := fmt.Errorf("no answer within %s (window %s and %s more)", limit, window, d.opts.Margin)
	asking, cancel := context.WithTimeoutCause(ctx, limit, late)
	defer cancel()
	type answer struct {
		m   incident.Measurement
		err error
	}
	// The wait ends with the limit even when an agent ignores its context.
	answered := make(chan answer, 1)
	go func() {
		m, err := a.Measure(asking, target, window, func(step string) {
			d.opts.Logger.Debug("measuring", "target", target.String(), "agent", a.name, "step", step)
		})
		answered <- answer{m, err}
	}()
	select {
	case got := <-answered:
		if got.err != nil && asking.Err() != nil {
			return got.m, late
		}
		return got.m, got.err
	case <-asking.Done():
		return incident.Measurement{}, late
	}
}

// merge fills what the agent found out into the target that was asked for. What
// the alert and the cluster say stays: an agent cannot point kmend elsewhere.
func merge(asked, answered incident.Target) incident.Target {
	set := func(into *string, from string) {
		if *into == "" {
			*into = from
		}
	}
	set(&asked.Node, answered.Node)
	set(&asked.PodUID, answered.PodUID)
	set(&asked.ContainerID, answered.ContainerID)
	set(&asked.Cgroup, answered.Cgroup)
	return asked
}

// inconclusive is the diagnosis of a target that could not be measured.
func inconclusive(target incident.Target, start time.Time, window time.Duration, reason string) incident.Diagnosis {
	return incident.Diagnosis{
		APIVersion: incident.APIVersion,
		Kind:       "Diagnosis",
		Target:     target,
		Node:       incident.Node{Name: target.Node},
		Window:     incident.Window{Start: start, Seconds: window.Seconds()},
		Verdict:    incident.Inconclusive,
		Findings:   []incident.Finding{{Verdict: incident.Inconclusive, Message: reason, Evidence: []string{}}},
		Evidence:   []incident.Evidence{},
		Ledger:     incident.Ledger{States: map[incident.State]float64{}},
		Probes:     []incident.ProbeStatus{{Name: "threads", Status: incident.ProbeAborted, Reason: reason}},
		Cost:       incident.Cost{WallMS: float64(time.Since(start).Milliseconds())},
	}
}
