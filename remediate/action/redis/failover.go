package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9/logging"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action"
)

// Failover is one of the two actions.
type Failover struct {
	name   string
	params func() any
	open   func(with map[string]any) (*run, error)
	opts   Options
}

var _ action.Action = (*Failover)(nil)

// NewSentinelFailover makes the action redis.sentinel_failover.
func NewSentinelFailover(opts Options) (*Failover, error) {
	return newFailover(SentinelName, func() any { return &SentinelParams{} }, openSentinel, opts)
}

// NewClusterFailover makes the action redis.cluster_failover.
func NewClusterFailover(opts Options) (*Failover, error) {
	return newFailover(ClusterName, func() any { return &ClusterParams{} }, openCluster, opts)
}

func newFailover(name string, params func() any, open func(map[string]any) (*run, error), opts Options) (*Failover, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	// The client writes to standard error by itself; what it says there is in its errors too.
	logging.Disable()
	return &Failover{name: name, params: params, open: open, opts: opts}, nil
}

// Name is redis.sentinel_failover or redis.cluster_failover.
func (a *Failover) Name() string { return a.name }

// Params is *SentinelParams or *ClusterParams.
func (a *Failover) Params() any { return a.params() }

// Preview says from which master to which replica a failover would go. It is an
// error when one is under way or was lately, would not come about, or when a
// replica that would become master is behind.
func (a *Failover) Preview(ctx context.Context, _ incident.Target, with map[string]any) (incident.Preview, error) {
	r, err := a.open(with)
	if err != nil {
		return incident.Preview{}, err
	}
	defer r.Close()
	s, err := r.system.look(ctx)
	if err != nil {
		return incident.Preview{}, err
	}
	if !r.starts(s) {
		return incident.Preview{}, fmt.Errorf("%s is not the master now, %s is: nothing to fail over", r.from, s.master)
	}
	runID, err := r.ready(ctx, &s, s.able())
	if err != nil {
		return incident.Preview{}, err
	}
	if r.chooses {
		s.only(s.best())
	}
	to := s.able()
	p := incident.Preview{
		Summary: fmt.Sprintf("fail %s over from %s to %s", r.what, s.master, strings.Join(to, " or ")),
		Before:  "master " + s.master, After: "master " + strings.Join(to, " or "),
		Server:        r.asked,
		Preconditions: map[string]string{"master": s.master, "run_id": runID, "epoch": s.epoch},
		Apply:         map[string]string{"to": strings.Join(to, " ")},
	}
	if !r.chooses {
		p.Summary += "; what the master takes and has not passed on by then is lost"
		if len(to) > 1 {
			p.Irreversible = true
			p.Summary += "; Sentinel chooses among them, so nobody can promise to fail back"
		}
	}
	return p, nil
}

// Apply fails over, unless a replica of the plan is master already. The master
// must be the process of the plan, there must have been no failover since, and
// everything that Preview asked is asked again. It returns once the new master
// serves and the old one replicates from it.
func (a *Failover) Apply(ctx context.Context, _ incident.Target, step incident.Step) (incident.Execution, error) {
	if step.Preview == nil {
		return incident.Execution{}, errors.New("the step was never previewed")
	}
	from, to := step.Preview.Preconditions["master"], strings.Fields(step.Preview.Apply["to"])
	if from == "" || len(to) == 0 {
		return incident.Execution{}, errors.New("reading the preview: it names no master or no replica")
	}
	r, err := a.open(step.With)
	if err != nil {
		return incident.Execution{}, err
	}
	defer r.Close()
	s, err := r.system.look(ctx)
	if err != nil {
		return incident.Execution{}, err
	}
	busy := s.moving
	if busy != "" { // perhaps what this step began before kmend stopped
		if s, err = a.ended(ctx, r); err != nil {
			return incident.Execution{}, fmt.Errorf("%w; nothing was changed by this", err)
		}
	}
	switch {
	case slices.Contains(to, s.master):
		if s, err = a.settle(ctx, r, from, []string{s.master}); err != nil {
			return incident.Execution{}, fmt.Errorf("%s is master already, but: %w", s.master, err)
		}
		return account(from, s, "already applied"), nil
	case s.master != from:
		return incident.Execution{}, fmt.Errorf("the master is %s now and was %s in the plan; nothing was changed", s.master, from)
	case !r.starts(s):
		return incident.Execution{}, fmt.Errorf("%s is not the master now; nothing was changed", r.from)
	case busy != "":
		return incident.Execution{}, fmt.Errorf("a failover was under way (%s) and came to nothing; nothing was changed by this", busy)
	case s.epoch != step.Preview.Preconditions["epoch"]:
		return incident.Execution{}, fmt.Errorf("there was a failover since the plan was made: its epoch was %s, now it is %s; nothing was changed",
			step.Preview.Preconditions["epoch"], s.epoch)
	}
	may := to
	if !r.chooses {
		may = s.able()
		if i := slices.IndexFunc(may, func(addr string) bool { return !slices.Contains(to, addr) }); i >= 0 {
			return incident.Execution{}, fmt.Errorf("Sentinel may choose %s, which is not in the plan; nothing was changed", may[i])
		}
	}
	runID, err := r.ready(ctx, &s, may)
	if err != nil {
		return incident.Execution{}, fmt.Errorf("%w; nothing was changed", err)
	}
	if runID != step.Preview.Preconditions["run_id"] {
		return incident.Execution{}, fmt.Errorf("%s was restarted since the plan was made; nothing was changed", from)
	}
	return a.move(ctx, r, s, from, s.able())
}

// Undo fails back to the old master, if the new one is still master and there
// was no failover since. All that is asked before a failover is asked again, but
// how long ago the last one was: it was ours.
func (a *Failover) Undo(ctx context.Context, _ incident.Target, step incident.Step, done incident.Execution) (incident.Execution, error) {
	from, to := done.State["from"], done.State["to"]
	if from == "" || to == "" {
		return incident.Execution{}, errors.New("reading what was done: it names no masters")
	}
	r, err := a.open(step.With)
	if err != nil {
		return incident.Execution{}, err
	}
	defer r.Close()
	r.bounds.interval = 0
	// Right after a failover those who decide are not at rest yet.
	s, err := a.rest(ctx, r, from)
	if err != nil {
		return incident.Execution{}, err
	}
	switch {
	case s.master == from:
		return incident.Execution{Before: "master " + to, After: "master " + from, Result: "undone"}, nil
	case !slices.Contains(strings.Fields(to), s.master):
		return incident.Execution{}, fmt.Errorf("the master is %s now, and %s was made it; somebody changed it since", s.master, to)
	case done.State["epoch"] != "" && s.epoch != done.State["epoch"]:
		return incident.Execution{}, fmt.Errorf("there was another failover since: the epoch was %s, now it is %s", done.State["epoch"], s.epoch)
	}
	if may := s.first(); !r.chooses && len(may) > 0 && !slices.Equal(may, []string{from}) {
		return incident.Execution{}, fmt.Errorf("%s stays master: Sentinel would choose %s, and cannot be told to choose %s", s.master, strings.Join(may, " or "), from)
	}
	if _, err := r.ready(ctx, &s, []string{from}); err != nil {
		return incident.Execution{}, fmt.Errorf("%s stays master: %w", s.master, err)
	}
	x, err := a.move(ctx, r, s, s.master, []string{from})
	if err != nil {
		return incident.Execution{}, err
	}
	x.Result, x.State = "undone", nil
	return x, nil
}

// account is that of a failover that came about.
func account(from string, s state, result string) incident.Execution {
	return incident.Execution{Before: "master " + from, After: "master " + s.master, Result: result,
		State: map[string]string{"from": from, "to": s.master, "epoch": s.epoch}}
}
