package respond

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
)

// brake is a switch that a test pulls.
type brake struct{ on atomic.Bool }

func (b *brake) paused() (string, error) {
	if b.on.Load() {
		return "kmend is paused by ada", nil
	}
	return "", nil
}

// decide denies while the brake is on, as internal/guard does.
func (b *brake) decide(incident.Incident, incident.Plan) incident.Decision {
	if why, _ := b.paused(); why != "" {
		return incident.Decision{Effect: incident.Deny, Policy: "kmend", Rule: "pause", Reason: why}
	}
	return incident.Decision{Effect: incident.Allow, Policy: "test", Reason: "it is a test"}
}

// A pause between two steps stops the plan, and nothing is put back either: who
// pauses wants kmend's hands off.
func TestPauseBetweenTheSteps(t *testing.T) {
	t.Parallel()
	b := &brake{}
	d := &stages{decide: b.decide, paused: b.paused, apply: func(context.Context, incident.Plan, int) (incident.Execution, error) {
		b.on.Store(true)
		return incident.Execution{Result: "applied", State: map[string]string{}}, nil
	}}
	bench := start(t, d)
	bench.ingest(firing("/a"))
	inc := bench.reported()
	if inc.Outcome != incident.Failed || !strings.Contains(inc.Reason, "paused by ada") || !strings.Contains(inc.Reason, "step 1 stays as it is and was not undone") {
		t.Errorf("outcome %s: %s", inc.Outcome, inc.Reason)
	}
	for _, note := range d.notes() {
		if strings.HasPrefix(note, "undo") || note == "apply 1" {
			t.Errorf("%s after the pause; %v", note, d.notes())
		}
	}
}

// A pause before the first step is a denial.
func TestPauseBeforeTheFirstStep(t *testing.T) {
	t.Parallel()
	b := &brake{}
	d := &stages{paused: b.paused, decide: func(inc incident.Incident, p incident.Plan) incident.Decision {
		defer b.on.Store(true) // after the first answer
		return b.decide(inc, p)
	}}
	bench := start(t, d)
	bench.ingest(firing("/a"))
	if inc := bench.reported(); inc.Outcome != incident.Denied || !strings.Contains(inc.Reason, "asked again before acting: deny by policy kmend/pause: kmend is paused by ada") {
		t.Errorf("outcome %s: %s", inc.Outcome, inc.Reason)
	}
}

// A pause breaks off what takes long.
func TestPauseInTheMiddleOfAStep(t *testing.T) {
	t.Parallel()
	b := &brake{}
	d := &stages{decide: b.decide, paused: b.paused, apply: func(ctx context.Context, _ incident.Plan, _ int) (incident.Execution, error) {
		b.on.Store(true)
		select {
		case <-ctx.Done():
			return incident.Execution{State: map[string]string{"half": "done"}}, context.Cause(ctx)
		case <-time.After(30 * time.Second):
			return incident.Execution{}, errors.New("nobody broke it off")
		}
	}}
	bench := start(t, d)
	bench.ingest(firing("/a"))
	if inc := bench.reported(); inc.Outcome != incident.Failed || !strings.Contains(inc.Reason, "step 1 of 2: kmend is paused by ada; step 1 stays as it is") {
		t.Errorf("outcome %s: %s", inc.Outcome, inc.Reason)
	}
}

// What did not help stays while kmend is paused, and the report says so.
func TestPauseBeforeTheUndoing(t *testing.T) {
	t.Parallel()
	b := &brake{}
	d := &stages{decide: b.decide, paused: b.paused, verify: func(p incident.Plan, before, after incident.Diagnosis) incident.Verification {
		b.on.Store(true)
		return worse(p, before, after)
	}}
	bench := start(t, d)
	bench.ingest(firing("/a"))
	if inc := bench.reported(); inc.Outcome != incident.Failed || !strings.Contains(inc.Reason, "44% after; step 2 stays as it is and was not undone: kmend is paused by ada") {
		t.Errorf("outcome %s: %s", inc.Outcome, inc.Reason)
	}
}

// That nobody knows for a moment whether kmend is paused breaks nothing off, and
// what did not help is undone once it is known.
func TestPauseThatNobodyKnows(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	d := &stages{
		paused: func() (string, error) {
			if asked.Add(1) < 4 {
				return "", errors.New("the database is away")
			}
			return "", nil
		},
		apply: func(ctx context.Context, _ incident.Plan, i int) (incident.Execution, error) {
			if i == 0 {
				select {
				case <-ctx.Done():
					return incident.Execution{}, context.Cause(ctx)
				case <-time.After(2500 * time.Millisecond):
				}
			}
			return incident.Execution{Result: "applied", State: map[string]string{}}, nil
		},
		verify: worse,
	}
	bench := start(t, d)
	bench.ingest(firing("/a"))
	if inc := bench.reported(); inc.Outcome != incident.Undone {
		t.Errorf("outcome %s: %s", inc.Outcome, inc.Reason)
	}
	if asked.Load() < 5 {
		t.Errorf("asked %d times", asked.Load())
	}
}

// While it stays unknown nothing is undone.
func TestPauseThatIsNeverKnown(t *testing.T) {
	t.Parallel()
	d := &stages{verify: worse, paused: func() (string, error) { return "", errors.New("the database is away") }}
	bench := start(t, d, func(o *Options) { o.StageTimeout = 100 * time.Millisecond })
	bench.ingest(firing("/a"))
	if inc := bench.reported(); inc.Outcome != incident.Failed || !strings.Contains(inc.Reason, "step 2 stays as it is and was not undone: whether kmend is paused is not known: the database is away") {
		t.Errorf("outcome %s: %s", inc.Outcome, inc.Reason)
	}
}
