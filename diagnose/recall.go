package diagnose

import (
	"context"
	"time"

	"github.com/kmend/kmend/diagnose/cause"
	"github.com/kmend/kmend/incident"
)

// Historian is a Measurer that has a flight recorder: it answers for a window that
// is over.
type Historian interface {
	Recorded(ctx context.Context, target incident.Target, since, until time.Time) (incident.Measurement, error)
}

// The recorded window around an alert's start. An alert is about what was before
// it; some of what came with it is taken along.
const (
	recallBefore = time.Minute
	recallAfter  = 30 * time.Second
	// recallSince is how far back an alert starts at least: what began later is in
	// the live window.
	recallSince = 5 * time.Second
)

// Recall asks the flight recorder of the target's node about the time when the
// alert began, and gives the diagnosis that counts: the live one, or where only the
// past confirms a cause, that of the past, marked as recorded. The other is its
// Also. Whatever is in the way leaves the live one as it is: the past is an extra.
func (d *Diagnoser) Recall(ctx context.Context, live incident.Diagnosis, startsAt time.Time) incident.Diagnosis {
	now := time.Now()
	if startsAt.IsZero() || now.Sub(startsAt) < recallSince {
		return live
	}
	agent, err := d.agent.of(ctx, live.Target)
	if err != nil {
		return live // it was not reached for the live window either
	}
	h, ok := agent.Measurer.(Historian)
	if !ok {
		return live
	}
	until := startsAt.Add(recallAfter)
	if until.After(now) {
		until = now
	}
	asking, cancel := context.WithTimeout(ctx, d.opts.Margin)
	defer cancel()
	m, err := h.Recorded(asking, live.Target, startsAt.Add(-recallBefore), until)
	if err != nil {
		d.opts.Logger.Info("the past of the target is not known", "target", live.Target.String(), "agent", agent.name, "reason", err)
		return live
	}
	past := cause.Diagnose(m)
	past.Target = merge(live.Target, m.Target)
	return chosen(live, past)
}

// chosen is the one of the two that counts. Nothing over a threshold in the past
// says nothing about the present, so the past decides only when it confirms.
func chosen(live, past incident.Diagnosis) incident.Diagnosis {
	if live.Verdict != incident.Confirmed && past.Verdict == incident.Confirmed {
		past.Also = &live
		return past
	}
	live.Also = &past
	return live
}
