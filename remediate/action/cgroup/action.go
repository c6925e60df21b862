package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action"
)

// Name is what runbooks write for SetCPUQuota.
const Name = "cgroup.set_cpu_quota"

// Params are the parameters of cgroup.set_cpu_quota.
type Params struct {
	// Factor: the new quota is the present one times this.
	Factor float64 `json:"factor,omitempty" jsonschema:"description=The new quota is the present one times this.,default=2,exclusiveMinimum=1,maximum=10"`
	// Max: the new quota is never over this many CPUs, nor over the CPUs online.
	Max action.CPUs `json:"max" jsonschema_description:"Never over this many CPUs: 2 or 500m."`
}

// SetCPUQuota is the action cgroup.set_cpu_quota.
type SetCPUQuota struct{ opts Options }

var _ action.Action = (*SetCPUQuota)(nil)

// NewSetCPUQuota makes the action for this node.
func NewSetCPUQuota(opts Options) (*SetCPUQuota, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	return &SetCPUQuota{opts}, nil
}

// Name is cgroup.set_cpu_quota.
func (*SetCPUQuota) Name() string { return Name }

// Params is *Params.
func (*SetCPUQuota) Params() any { return &Params{} }

// Preview reads the group and computes the new quota: present x factor, at most
// max and the CPUs online. It is an error when there is nothing to raise; when
// the group has no quota itself and one above limits it, the error names that
// one: it is not raised, because the groups beside the target's would get it too.
func (a *SetCPUQuota) Preview(_ context.Context, target incident.Target, with map[string]any) (incident.Preview, error) {
	var p Params
	if err := action.Decode(with, &p); err != nil {
		return incident.Preview{}, err
	}
	factor, err := action.Factor(p.Factor)
	if err != nil {
		return incident.Preview{}, err
	}
	if p.Max == 0 {
		return incident.Preview{}, fmt.Errorf("with.max is missing: give the most CPUs that the quota may reach, for example 4")
	}
	g, err := a.find(target)
	if err != nil {
		return incident.Preview{}, err
	}
	defer g.Close()
	now, err := g.read()
	if err != nil {
		return incident.Preview{}, err
	}
	above, err := g.above()
	if err != nil {
		return incident.Preview{}, err
	}
	if !now.limited() {
		return incident.Preview{}, unlimited(g.dir, above)
	}
	wanted, bound, err := raise(now, factor, p.Max, a.opts.CPUs, above)
	if err != nil {
		return incident.Preview{}, fmt.Errorf("cgroup %s: %w", g.dir, err)
	}
	return incident.Preview{
		Summary:       summary(g.dir, now, wanted, bound),
		Before:        now.String(),
		After:         wanted.String(),
		Server:        "cgroup read",
		Preconditions: state(g, now),
		Apply: map[string]string{
			"directory": g.dir, "quota_us": itoa(wanted.quota), "period_us": itoa(wanted.period),
		},
	}, nil
}

// Apply sets the quota that Preview computed, unless it is set already. The
// directory must still be the same one (its inode) and still be the target's,
// and quota and period must be what Preview read. The kernel has no
// compare-and-set here: a writer between the check and the write is not noticed.
func (a *SetCPUQuota) Apply(_ context.Context, target incident.Target, step incident.Step) (incident.Execution, error) {
	if step.Preview == nil {
		return incident.Execution{}, fmt.Errorf("the step was never previewed")
	}
	wanted, err := parseQuota(step.Preview.Apply["quota_us"], step.Preview.Apply["period_us"])
	if err != nil {
		return incident.Execution{}, fmt.Errorf("reading the preview: %w", err)
	}
	pre := step.Preview.Preconditions
	seen, err := parseQuota(pre["quota_us"], pre["period_us"])
	if err != nil {
		return incident.Execution{}, fmt.Errorf("reading the preview: %w", err)
	}
	// By the directory, so that what took effect before a crash is seen also when the process that was the target has ended.
	g, err := a.find(incident.Target{Node: target.Node, Cgroup: pre["directory"]})
	if err != nil {
		return incident.Execution{}, err
	}
	defer g.Close()
	if err := same(g, pre); err != nil {
		return incident.Execution{}, err
	}
	now, err := g.read()
	if err != nil {
		return incident.Execution{}, err
	}
	done := incident.Execution{Before: seen.String(), After: wanted.String(), Result: "already applied", State: map[string]string{
		"directory": g.dir, "inode": pre["inode"],
		"quota_us": itoa(wanted.quota), "period_us": itoa(wanted.period), "was_quota_us": itoa(seen.quota),
	}}
	switch now {
	case wanted:
		return done, nil
	case seen:
	default:
		return incident.Execution{}, fmt.Errorf("cgroup %s: its quota is %s now and was %s in the plan; nothing was changed", g.dir, now, seen)
	}
	if _, dir, err := a.locate(target); err != nil {
		return incident.Execution{}, err
	} else if dir != g.dir {
		return incident.Execution{}, fmt.Errorf("the target's cgroup is %s now and was %s in the plan; nothing was changed", dir, g.dir)
	}
	return change(g, seen, wanted, done)
}

// knob is where a quota is read and written: a group.
type knob interface {
	read() (quota, error)
	write(q quota) error
}

// change sets the quota and accounts for it in done. A write that went wrong is
// put back; where that goes wrong too, done comes with the error, because what
// stays is unknown and Undo is to look at it again.
func change(k knob, seen, wanted quota, done incident.Execution) (incident.Execution, error) {
	done.Result = "applied"
	err := k.write(wanted)
	if err == nil {
		return done, nil
	}
	if back := restore(k, seen); back != nil {
		return done, errors.Join(err, fmt.Errorf("putting the quota back: %w", back))
	}
	return incident.Execution{}, err
}

// Undo sets the quota back to what Apply found, if it is still what Apply set.
// A group that is gone took its quota along: that is no error.
func (a *SetCPUQuota) Undo(_ context.Context, target incident.Target, _ incident.Step, done incident.Execution) (incident.Execution, error) {
	s := done.State
	ours, err := parseQuota(s["quota_us"], s["period_us"])
	if err != nil {
		return incident.Execution{}, fmt.Errorf("reading what was done: %w", err)
	}
	was, err := parseQuota(s["was_quota_us"], s["period_us"])
	if err != nil {
		return incident.Execution{}, fmt.Errorf("reading what was done: %w", err)
	}
	out := incident.Execution{Before: ours.String(), After: was.String(), Result: "undone"}
	// By the directory, not by the target: the process that was the target may have ended.
	g, err := a.find(incident.Target{Node: target.Node, Cgroup: s["directory"]})
	if errors.Is(err, fs.ErrNotExist) {
		out.After = "the cgroup is gone"
		return out, nil
	}
	if err != nil {
		return incident.Execution{}, err
	}
	defer g.Close()
	if same(g, s) != nil {
		out.After = "the cgroup is gone" // another one has its name
		return out, nil
	}
	now, err := g.read()
	if err != nil {
		return incident.Execution{}, err
	}
	switch now {
	case was:
		return out, nil
	case ours:
		if err := g.write(was); err != nil {
			return incident.Execution{}, err
		}
		return out, nil
	}
	return incident.Execution{}, fmt.Errorf("cgroup %s: its quota is %s now and kmend had set %s; somebody changed it since, so it stays", g.dir, now, ours)
}

// find opens the group of the target.
func (a *SetCPUQuota) find(target incident.Target) (*group, error) {
	m, dir, err := a.locate(target)
	if err != nil {
		return nil, err
	}
	return open(m, dir)
}

// restore puts q back after a write that went wrong half-way.
func restore(k knob, q quota) error {
	if now, err := k.read(); err == nil && now == q {
		return nil
	}
	return k.write(q)
}

func state(g *group, q quota) map[string]string {
	return map[string]string{
		"directory": g.dir, "inode": strconv.FormatUint(g.inode, 10), "quota_us": itoa(q.quota), "period_us": itoa(q.period),
	}
}

// same checks that g is the directory that facts were read from.
func same(g *group, facts map[string]string) error {
	if g.dir != facts["directory"] {
		return fmt.Errorf("the target's cgroup is %s now and was %s in the plan; nothing was changed", g.dir, facts["directory"])
	}
	if inode := strconv.FormatUint(g.inode, 10); inode != facts["inode"] {
		return fmt.Errorf("cgroup %s was removed and made again since the plan (inode %s, was %s); nothing was changed", g.dir, inode, facts["inode"])
	}
	return nil
}

func unlimited(dir string, above []limit) error {
	switch len(above) {
	case 0:
		return fmt.Errorf("cgroup %s has no CPU quota, and none above it: nothing to raise", dir)
	case 1:
		return fmt.Errorf("cgroup %s has no CPU quota itself; %s above it is limited to %s, and all its groups share that: name that cgroup as the target if it is meant",
			dir, above[0].dir, above[0].quota)
	}
	return fmt.Errorf("cgroup %s has no CPU quota itself; %d groups above it have one, the nearest is %s with %s: which to raise is not clear from here",
		dir, len(above), above[0].dir, above[0].quota)
}

var systemdUnit = regexp.MustCompile(`\.(service|scope|slice)$`)

func summary(dir string, now, wanted quota, bound string) string {
	s := fmt.Sprintf("raise the CPU quota of cgroup %s from %s to %s", dir, now.number(), wanted)
	if bound != "" {
		s += " (no further: " + bound + ")"
	}
	if systemdUnit.MatchString(dir) {
		s += "; systemd sets it back when it reloads its units, CPUQuota= is where it lasts"
	}
	return s
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
