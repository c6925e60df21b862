package respond

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
	_ "github.com/dbos-inc/dbos-transact-golang/dbos/driver/sqlite" // dbos on SQLite
)

const (
	// flowVersion names the flow to the workflow engine, in place of a hash of the
	// binary: incidents that were open go on after an update of kmend. What a
	// stage has to do differently for those goes behind dbos.Patch.
	flowVersion = "1"
	flowName    = "respond"
)

// Responder takes notifications in and runs a workflow for every incident.
type Responder struct {
	Options
	metrics *Metrics
	room    *room // for diagnoses
	plans   *room // for plans and their guards
	bells   bells
	running running
	origins origins

	lease *lease

	engine dbos.Context // nil until Start

	mu       sync.Mutex
	open     bool // between Start and Stop
	ended    bool // after Stop
	stop     context.CancelFunc
	starting sync.WaitGroup // workflows being started, and the sweeper
	keeping  sync.WaitGroup // who keeps the lease
	yield    context.CancelFunc
}

// New makes a Responder. It takes no workflow up before Start.
func New(o Options) (*Responder, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("respond options: %w", err)
	}
	for _, name := range []string{"DBOS__APPVERSION", "DBOS__VMID", "DBOS__CLOUD"} {
		if v, set := os.LookupEnv(name); set {
			return nil, fmt.Errorf("environment variable %s is %q: it would strand the open incidents; unset it", name, v)
		}
	}
	m := o.Metrics
	if m == nil {
		m = NewMetrics(nil)
	}
	return &Responder{Options: o, metrics: m, room: newRoom(o.MaxDiagnoses, o.MaxDiagnosesPerNode), plans: newRoom(o.MaxPlans, 1), lease: newLease(!o.Store.Shared())}, nil
}

// Start launches the workflow engine and takes up every open incident: those in
// the middle of their workflow, and those that were committed and never got one.
// ctx bounds the starting and lends its values to the workflows; Stop ends them.
func (r *Responder) Start(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open || r.ended {
		return errors.New("starting the responder: it was started before")
	}
	if err := r.Store.Join(ctx, r.ExecutorID); err != nil {
		return err
	}
	if err := r.renewLease(ctx); err != nil {
		return err
	}
	life := context.WithoutCancel(ctx) // the engine cancels its workflows for good when its context ends
	engine, err := r.prepare(ctx, life)
	if err != nil {
		return err
	}
	dbos.RegisterWorkflow(engine, r.Respond, dbos.WithWorkflowName(flowName))
	kept, yield := context.WithCancel(life)
	r.yield = yield
	if r.Store.Shared() { // from here on, or a slow start would be taken for death
		r.keeping.Go(func() { r.keepLease(kept) })
	}
	if err := dbos.Launch(engine); err != nil {
		yield()
		return fmt.Errorf("launching the workflow engine: %w", err)
	}
	life, r.stop = context.WithCancel(life)
	r.engine, r.open = engine, true
	if err := r.sweep(ctx, nil); err != nil {
		r.open, r.ended = false, true
		r.stop()
		yield()
		return errors.Join(fmt.Errorf("taking up open incidents: %w", err), dbos.Shutdown(engine, time.Second))
	}
	r.starting.Go(func() { r.sweepAlways(life) })
	if r.Retention > 0 {
		r.starting.Go(func() { r.forgetAlways(life) })
	}
	if r.Store.Shared() {
		r.starting.Go(func() { r.watchOthers(life) })
	}
	return nil
}

// prepare makes the workflow engine on the store's database. Two replicas that
// made its tables at the same time would fail, so one does it after the other.
func (r *Responder) prepare(ctx, life context.Context) (engine dbos.Context, err error) {
	c := dbos.Config{AppName: "kmend", ApplicationVersion: flowVersion, ExecutorID: r.ExecutorID,
		EnablePatching: true, AdminServer: false, Logger: slog.New(atLeast{slog.LevelWarn, r.Logger.Handler()})}
	undo := func() error { return nil }
	if r.Store.Shared() {
		if c.SystemDBPool, err = r.Store.Pool(life); err == nil {
			undo = func() error { c.SystemDBPool.Close(); return nil }
		}
	} else {
		if c.SQLiteSystemDB, err = r.Store.DB(); err == nil {
			undo = c.SQLiteSystemDB.Close
		}
	}
	if err != nil {
		return nil, err
	}
	err = r.Store.Exclusive(ctx, func(context.Context) error {
		engine, err = dbos.NewContext(life, c)
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("preparing the workflow engine: %w", err), undo())
	}
	return engine, nil
}

// Stop takes no more notifications and waits, until ctx ends, for what is being
// changed right now. Everything else is left as it is, and goes on after the next
// Start or at once on another replica.
func (r *Responder) Stop(ctx context.Context) error {
	r.mu.Lock()
	was := r.open
	r.open, r.ended = false, true
	r.mu.Unlock()
	if !was {
		return nil
	}
	r.stop()
	patience := r.StageTimeout
	if until, ok := ctx.Deadline(); ok {
		patience = max(time.Until(until), time.Millisecond)
	}
	idle := make(chan struct{})
	go func() { defer close(idle); r.starting.Wait() }()
	select {
	case <-idle:
	case <-ctx.Done(): // the engine waits for its storage; it gives up when it is shut down
	}
	err := dbos.Shutdown(r.engine, patience)
	r.yield() // what was being changed was under the lease until now
	r.keeping.Wait()
	if err != nil {
		return fmt.Errorf("stopping the workflow engine: %w", err)
	}
	return r.Store.Leave(ctx)
}

func (r *Responder) stopped() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended
}

// launch starts the workflow of an incident without making the sender wait.
// What goes wrong here, the sweeper finds.
func (r *Responder) launch(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.open {
		return // Start takes it up
	}
	r.starting.Go(func() {
		if err := r.run(id, id); err != nil {
			r.Logger.Error("workflow is started later", "incident", id, "error", err)
		}
	})
}

func (r *Responder) run(id, workflow string) error {
	_, err := dbos.RunWorkflow(r.engine, r.Respond, id, dbos.WithWorkflowID(workflow))
	if err != nil {
		return fmt.Errorf("starting the workflow of incident %s: %w", id, err)
	}
	return nil
}

// sweepAlways looks for open incidents that nobody works on, and writes down that
// kmend is up: an incident may wait for long without a line on its timeline.
func (r *Responder) sweepAlways(ctx context.Context) {
	idle := map[string]bool{}
	for sleep(ctx, r.SweepInterval) == nil {
		var beat error
		if !r.Store.Shared() { // there, it is more often: keepLease
			beat = r.Store.Beat(ctx)
		}
		if err := errors.Join(beat, r.sweep(ctx, idle)); err != nil && ctx.Err() == nil {
			r.Logger.Error("open incidents are looked for again later", "error", err)
			r.metrics.storageErrors.Inc()
		}
		r.lookPaused(ctx)
	}
}

// lookPaused says to whoever looks at the metrics whether somebody stopped kmend.
func (r *Responder) lookPaused(ctx context.Context) {
	why, err := r.Guard.Paused(ctx)
	if ctx.Err() != nil {
		return
	}
	paused := 0.0
	if why != "" || err != nil {
		paused = 1
	}
	r.metrics.paused.Set(paused)
}

// sweep gives a workflow to every incident that needs one, has none and is not another
// replica's; two replicas that do so at once give it the same. idle are those
// that nobody worked on at the last sweep: whatever the engine says of them,
// their workflow is not running. It is nil at the start, when the engine has
// just been told to run them.
func (r *Responder) sweep(ctx context.Context, idle map[string]bool) error {
	waiting, err := r.Store.Waiting(ctx)
	if err != nil {
		return err
	}
	r.metrics.waiting(waiting)
	ids, err := r.Store.Unattended(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if r.running.has(id) {
			delete(idle, id)
			continue
		}
		if err := r.takeUp(id, idle[id]); err != nil {
			return err
		}
		if idle != nil {
			idle[id] = true
		}
	}
	return nil
}

// takeUp runs a workflow for an incident that has none, or whose workflows have
// ended or, when stuck, are not running. Its stages go on from the store, so a
// new run repeats nothing.
func (r *Responder) takeUp(id string, stuck bool) error {
	runs, err := dbos.ListWorkflows(r.engine, dbos.WithFilterWorkflowIDPrefix(id), dbos.WithFilterLoadInput(false), dbos.WithFilterLoadOutput(false))
	if err != nil {
		return fmt.Errorf("looking for the workflow of incident %s: %w", id, err)
	}
	runs = slices.DeleteFunc(runs, func(w dbos.WorkflowStatus) bool { // of later episodes
		return w.ID != id && !strings.HasPrefix(w.ID, id+"~")
	})
	for _, w := range runs {
		alive := w.Status == dbos.WorkflowStatusPending || w.Status == dbos.WorkflowStatusEnqueued || w.Status == dbos.WorkflowStatusDelayed
		if alive && !stuck {
			return nil
		}
	}
	if len(runs) == 0 {
		return r.run(id, id)
	}
	r.Logger.Warn("incident has no end and its workflow is not running; it gets a new one", "incident", id, "runs", len(runs))
	return r.run(id, fmt.Sprintf("%s~%d", id, len(runs)+1))
}

// atLeast is a log handler that drops what is less than its level.
type atLeast struct {
	level slog.Level
	slog.Handler
}

func (h atLeast) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.level && h.Handler.Enabled(ctx, l)
}

func (h atLeast) WithAttrs(a []slog.Attr) slog.Handler {
	return atLeast{h.level, h.Handler.WithAttrs(a)}
}

func (h atLeast) WithGroup(name string) slog.Handler {
	return atLeast{h.level, h.Handler.WithGroup(name)}
}
