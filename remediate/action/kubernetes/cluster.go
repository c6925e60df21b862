package kubernetes

import (
	"errors"
	"fmt"
	"time"

	"k8s.io/client-go/dynamic"
	client "k8s.io/client-go/kubernetes"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action"
)

// cluster is what the actions of this package act on.
type cluster struct {
	client client.Interface
	dyn    dynamic.Interface
	opts   Options
}

// Actions are all actions of this package for one cluster, which both clients
// reach with the same rights.
func Actions(c client.Interface, dyn dynamic.Interface, opts Options) ([]action.Action, error) {
	if c == nil || dyn == nil {
		return nil, errors.New("kubernetes actions: no client")
	}
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	return (&cluster{c, dyn, opts}).actions(), nil
}

// Known are the same actions without a cluster, for those who need only their
// names, their parameters and whether they can be undone; calling them panics.
func Known() []action.Action { return (&cluster{opts: DefaultOptions()}).actions() }

func (c *cluster) actions() []action.Action {
	all := []action.Action{
		&ResizeCPU{c.client, c.opts, c},
		c.resizeMemory(),
		&evictPod{c},
		&drainNode{c},
		c.cordonNode(), c.uncordonNode(), c.taintNode(), c.label(),
		c.scale(), c.raiseHPAMax(), c.rolloutRestart(), c.rolloutUndo(),
		c.leaveService(), c.setConfig(), c.pointService(), c.shiftTraffic(),
		&runJob{c},
	}
	for i, a := range all {
		all[i] = explained{a, c.opts.Namespaces}
	}
	return all
}

// maxTimeout bounds every parameter `timeout`.
const maxTimeout = time.Hour

// Bounded is the parameter of the steps that wait for something.
type Bounded struct {
	// Timeout is how long the change may take until it shows.
	Timeout incident.Duration `json:"timeout,omitempty" jsonschema_description:"How long to wait until the cluster shows the change (1s to 1h). What is not there by then is put back, or is an error."`
}

// within is the time limit that the runbook gives, else usual.
func (b Bounded) within(usual time.Duration) (time.Duration, error) {
	d := b.Timeout.D()
	switch {
	case d == 0:
		return usual, nil
	case d < time.Second || d > maxTimeout:
		return 0, fmt.Errorf("with.timeout: %s is out of bounds; allowed: 1s to %s", d, maxTimeout)
	}
	return d, nil
}

// stepTimeout is what a step may take in all that waits for d: what it takes to
// write the change before, and to put it back after.
func stepTimeout(d time.Duration) incident.Duration {
	return incident.Duration(d + 2*patience)
}
