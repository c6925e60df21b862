package kubernetes

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// progress is how far the kubelet is with a resize.
type progress int

const (
	waiting    progress = iota // not there yet; may still be deferred
	done                       // the kubelet reports the wanted resources
	infeasible                 // the kubelet will not do it
)

// look reads from a pod how far the resize of a container to wanted is, where
// generation is the pod's after the resize was written: a condition that the
// kubelet set for an older spec says nothing about this one. why describes what
// the kubelet waits for or why it refuses.
func look(pod *corev1.Pod, name string, wanted cpu, generation int64) (p progress, why string) {
	if c := pending(pod, generation); c != nil {
		why = describe(c)
		if c.Reason == corev1.PodReasonInfeasible {
			return infeasible, why
		}
		if c.Type == corev1.PodResizePending {
			return waiting, why
		}
	}
	s := statusOf(pod, name)
	switch {
	case s == nil || s.Resources == nil:
		return waiting, orElse(why, "the kubelet reports no resources")
	case !reached(cpuOf(*s.Resources), wanted, why != ""):
		return waiting, orElse(why, fmt.Sprintf("the kubelet reports %s", cpuOf(*s.Resources)))
	case s.State.Running == nil:
		return waiting, orElse(why, "the container is not running")
	}
	return done, ""
}

// reached reports whether the resources that the kubelet reports are the wanted
// ones. The limit is exact. A request goes through CPU shares and comes back
// rounded, so another one counts once the kubelet says that it has finished.
func reached(reported, wanted cpu, inProgress bool) bool {
	return reported.limit == wanted.limit && (reported.request == wanted.request || !inProgress)
}

// pending is the condition that says that a resize is not finished: pending
// before in progress. nil when there is none for this generation or a later one.
// Kubelets before 1.34 set no generation; theirs counts.
func pending(pod *corev1.Pod, generation int64) *corev1.PodCondition {
	for _, t := range []corev1.PodConditionType{corev1.PodResizePending, corev1.PodResizeInProgress} {
		for i := range pod.Status.Conditions {
			c := &pod.Status.Conditions[i]
			current := c.ObservedGeneration == 0 || c.ObservedGeneration >= generation
			if c.Type == t && c.Status == corev1.ConditionTrue && current {
				return c
			}
		}
	}
	return nil
}

func describe(c *corev1.PodCondition) string {
	s := string(c.Type)
	if c.Reason != "" {
		s += ": " + c.Reason
	}
	if c.Message != "" {
		s += ": " + c.Message
	}
	return s
}

func orElse(s, other string) string {
	if s != "" {
		return s
	}
	return other
}
