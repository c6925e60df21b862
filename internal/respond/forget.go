package respond

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
)

const (
	forgetEvery = time.Hour
	forgetBatch = 20 // incidents, with all their episodes
	// forgetPause is between two batches: alerts come first.
	forgetPause = 200 * time.Millisecond
)

// forgetAlways forgets every hour what ended longer than Retention ago.
func (r *Responder) forgetAlways(ctx context.Context) {
	for {
		n, err := r.forget(ctx, time.Now().Add(-r.Retention))
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			r.Logger.Error("old incidents are forgotten later", "error", err)
		case n > 0:
			r.Logger.Info("old incidents are forgotten", "incidents", n, "retention", r.Retention.String())
		}
		if sleep(ctx, forgetEvery) != nil {
			return
		}
	}
}

// forget deletes what ended before a time, in small transactions: first an incident's
// workflows, then the incident. When kmend dies in between, the next turn goes on with it.
func (r *Responder) forget(ctx context.Context, before time.Time) (n int, err error) {
	for {
		ids, err := r.Store.Old(ctx, before, forgetBatch)
		if err != nil {
			return n, err
		}
		ids = slices.DeleteFunc(ids, r.running.has)
		for _, id := range ids {
			if err := r.forgetRuns(id); err != nil {
				return n, err
			}
		}
		gone, err := r.Store.Forget(ctx, before, ids)
		if n += gone; err != nil || gone == 0 {
			return n, err
		}
		if sleep(ctx, forgetPause) != nil {
			return n, context.Cause(ctx)
		}
	}
}

// forgetRuns deletes the workflows of an incident, of which it may have had several.
func (r *Responder) forgetRuns(id string) error {
	runs, err := dbos.ListWorkflows(r.engine, dbos.WithFilterWorkflowIDPrefix(id), dbos.WithFilterLoadInput(false), dbos.WithFilterLoadOutput(false))
	if err != nil {
		return fmt.Errorf("looking for the workflows of incident %s: %w", id, err)
	}
	var ids []string
	for _, w := range runs {
		if w.ID == id || strings.HasPrefix(w.ID, id+"~") {
			ids = append(ids, w.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	if err := dbos.DeleteWorkflows(r.engine, ids); err != nil {
		return fmt.Errorf("deleting the workflows of incident %s: %w", id, err)
	}
	return nil
}
