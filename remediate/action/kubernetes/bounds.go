package kubernetes

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/kmend/kmend/internal/workload"
	"github.com/kmend/kmend/remediate/action"
)

// cpu is a container's CPU limit and request in thousandths of a CPU; 0 is none.
type cpu struct{ limit, request int64 }

func (c cpu) String() string {
	return fmt.Sprintf("limit %s, request %s", action.CPUs(c.limit), action.CPUs(c.request))
}

func cpuOf(r corev1.ResourceRequirements) cpu {
	return cpu{r.Limits.Cpu().MilliValue(), r.Requests.Cpu().MilliValue()}
}

func quantity(milli int64) *resource.Quantity {
	return resource.NewMilliQuantity(milli, resource.DecimalSI)
}

// room is what a node has for pods, in thousandths of a CPU.
type room struct {
	allocatable int64 // in all
	free        int64 // of that, not requested by a pod; below 0 on a node that shrank
}

// roomOn is the room of a node with these pods on it.
func roomOn(node *corev1.Node, pods []corev1.Pod) room {
	allocatable, free := workload.Room(node, pods, corev1.ResourceCPU)
	return room{allocatable.MilliValue(), free.MilliValue()}
}

// raise computes the new limit: now x factor, rounded down to a thousandth, at
// most max, at most what the node has for pods, and at most the container's
// request and what the node can still allocate. Limits may add up to more than
// the node; one that is raised over what is left promises CPU that others were
// promised before. The request stays as it is, except in a Guaranteed pod: there
// it is the limit, because the QoS class of a pod may not change. bound says
// what cut the limit short, if anything did. An error says why there is nothing
// to raise; a limit that is over its bounds already is never lowered.
func raise(now cpu, guaranteed bool, factor float64, max action.CPUs, node room) (wanted cpu, bound string, err error) {
	wanted = cpu{int64(float64(now.limit)*factor + 1e-6), now.request}
	left := fmt.Sprintf("the node has %s left over the %s that the container requests", action.CPUs(node.free), action.CPUs(now.request))
	if guaranteed {
		left = fmt.Sprintf("the pod is Guaranteed, so the request moves with the limit, and the node has %s left", action.CPUs(node.free))
	}
	bounds := []struct {
		limit int64
		why   string
	}{
		{max.Milli(), fmt.Sprintf("the runbook's max is %s", max)},
		{node.allocatable, fmt.Sprintf("the node has %s for pods", action.CPUs(node.allocatable))},
		{now.request + node.free, left},
	}
	for _, b := range bounds {
		if wanted.limit > b.limit {
			wanted.limit, bound = b.limit, b.why
		}
	}
	if wanted.limit <= now.limit {
		if bound == "" {
			bound = fmt.Sprintf("%v times that is no more", factor)
		}
		return cpu{}, "", fmt.Errorf("nothing to raise: the limit is %s and %s", action.CPUs(now.limit), bound)
	}
	if guaranteed {
		wanted.request = wanted.limit
	}
	return wanted, bound, nil
}
