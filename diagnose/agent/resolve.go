package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/diagnose/agent/cgroups"
	"github.com/kmend/kmend/diagnose/agent/cri"
	"github.com/kmend/kmend/incident"
)

// scope is a target as it is on this node.
type scope struct {
	target incident.Target // with what was looked up filled in
	what   probe.Target
	born   uint64 // of a process: its number may become another's
	key    string // one measurement at a time for each
}

// mine refuses a target that is said to be on another node, before anything is
// looked up: a process or a control group of that name may be here too. An agent
// that was not told its node's name leaves it to who asked.
func (a *Agent) mine(t incident.Target) error {
	if !a.strict || t.Node == "" || incident.SameNode(t.Node, a.node.Name) {
		return nil
	}
	return refuse(ErrNotFound, "%s is on node %.253q, and this is the agent of node %q, which answers for its own node only: ask the agent there, or correct the nodes of agents.static or this agent's --node-name",
		t, t.Node, a.node.Name)
}

// resolve finds the target on the node. The first that is set decides: PID,
// cgroup, pod, unit.
func (a *Agent) resolve(ctx context.Context, n *cgroups.Node, t incident.Target) (scope, error) {
	var dir string
	var err error
	switch {
	case t.PID != 0:
		if err := n.Process(t.PID); err != nil {
			return scope{}, classify(err)
		}
		// What is acted on is the group it is in now: the number may be another
		// process's by then, and another alert may name the group itself.
		t.Cgroup, _ = n.Group(t.PID)
		born, err := n.Born(t.PID)
		if err != nil {
			return scope{}, classify(err)
		}
		return scope{t, probe.Target{PIDs: []int{t.PID}}, born, "pid " + strconv.Itoa(t.PID)}, nil
	case t.Cgroup != "":
		dir, err = n.Dir(t.Cgroup)
	case t.Pod != "" || t.PodUID != "":
		t, dir, err = a.pod(ctx, n, t)
	case t.Unit != "":
		dir, err = n.Unit(t.Unit)
	default:
		return scope{}, refuse(ErrInvalid, "the target names no pod, cgroup, process or systemd unit: nothing to measure")
	}
	if err != nil {
		return scope{}, classify(err)
	}
	t.Cgroup = dir
	return scope{target: t, what: probe.Target{Cgroups: []string{dir}}, key: "cgroup " + dir}, nil
}

// pod looks up what the target does not say: the UID of a pod known by name, the
// id of a container known by name. A UID that has no cgroup may be that of a
// static pod's mirror; the runtime knows the real one.
func (a *Agent) pod(ctx context.Context, n *cgroups.Node, t incident.Target) (incident.Target, string, error) {
	var firstErr error
	if t.PodUID != "" && (t.ContainerID != "" || t.Container == "") {
		dir, err := n.Pod(t.PodUID, t.ContainerID)
		if err == nil || t.Pod == "" || !errors.Is(err, cgroups.ErrNotFound) {
			return t, dir, err
		}
		firstErr = err
	}
	if t.Pod == "" {
		return t, "", refuse(ErrInvalid, "the target names container %q of pod UID %s but neither the pod nor the container's id", t.Container, t.PodUID)
	}
	p, err := cri.Lookup(ctx, a.o.CRISocket, t.Namespace, t.Pod, t.Container)
	if err != nil {
		if firstErr != nil {
			return t, "", firstErr
		}
		err = fmt.Errorf("looking up %s: %w", t, err)
		if ctx.Err() == nil && !errors.Is(err, cri.ErrNotFound) {
			err = refuse(ErrUnsupported, "%s", err)
		}
		return t, "", err
	}
	t.PodUID, t.ContainerID = p.UID, p.ContainerID
	dir, err := n.Pod(t.PodUID, t.ContainerID)
	return t, dir, err
}

// classify makes a refusal of a lookup's error.
func classify(err error) error {
	var r *refusal
	switch {
	case errors.As(err, &r):
		return err
	case errors.Is(err, cgroups.ErrNotFound), errors.Is(err, cri.ErrNotFound):
		return refuse(ErrNotFound, "%s", err)
	case errors.Is(err, fs.ErrPermission):
		return refuse(ErrUnsupported, "%s: run as root", err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return refuse(ErrInvalid, "%s", err)
}
