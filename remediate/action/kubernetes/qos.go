package kubernetes

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// qos is the class the API server gives a pod without pod-level resources:
// Guaranteed when every container has limits of CPU and memory and requests as
// much, BestEffort when none has any, else Burstable
// (kubernetes.io/docs/concepts/workloads/pods/pod-qos).
func qos(spec corev1.PodSpec) corev1.PodQOSClass {
	guaranteed, some := true, false
	for _, c := range append(append([]corev1.Container{}, spec.InitContainers...), spec.Containers...) {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			limit, request := amount(c.Resources.Limits, name), amount(c.Resources.Requests, name)
			some = some || !limit.IsZero() || !request.IsZero()
			guaranteed = guaranteed && !limit.IsZero() && limit.Cmp(request) == 0
		}
	}
	switch {
	case !some:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

func amount(l corev1.ResourceList, name corev1.ResourceName) resource.Quantity { return l[name] }
