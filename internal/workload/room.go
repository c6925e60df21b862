package workload

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	helpers "k8s.io/component-helpers/resource"
)

// Ended reports whether a pod is over: it takes nothing of its node any more.
func Ended(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// Room is how much of a resource a node has for pods, and what of that none of the
// pods on it requests: below 0 on a node that shrank. They add up as for the
// scheduler and the kubelet: the larger of what is requested, allocated and
// actuated counts, a resize in flight included.
func Room(node *corev1.Node, pods []corev1.Pod, of corev1.ResourceName) (allocatable, free resource.Quantity) {
	allocatable = node.Status.Allocatable[of]
	free = allocatable.DeepCopy()
	for i := range pods {
		if !Ended(&pods[i]) {
			requests := helpers.PodRequests(&pods[i], helpers.PodResourcesOptions{UseStatusResources: true})
			free.Sub(requests[of])
		}
	}
	return allocatable, free
}
