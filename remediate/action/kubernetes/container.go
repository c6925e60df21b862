package kubernetes

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	helpers "k8s.io/component-helpers/resource"

	"github.com/kmend/kmend/remediate/action"
)

// pick is the container to resize: the one named, else the only one with a CPU limit.
func pick(pod *corev1.Pod, name string) (corev1.Container, error) {
	if name != "" {
		c, ok := container(pod, name)
		if !ok {
			return c, fmt.Errorf("pod %s has no container %q (init and ephemeral containers are not resized); it has: %s", ref(pod), name, strings.Join(names(pod.Spec.Containers), ", "))
		}
		if cpuOf(c.Resources).limit == 0 {
			return c, fmt.Errorf("container %s of pod %s has no CPU limit: nothing to raise", name, ref(pod))
		}
		return c, nil
	}
	limited := slices.DeleteFunc(slices.Clone(pod.Spec.Containers), func(c corev1.Container) bool { return cpuOf(c.Resources).limit == 0 })
	switch len(limited) {
	case 0:
		return corev1.Container{}, fmt.Errorf("no container of pod %s has a CPU limit: nothing to raise", ref(pod))
	case 1:
		return limited[0], nil
	}
	return corev1.Container{}, fmt.Errorf("pod %s has %d containers with a CPU limit (%s) and the alert names none of them", ref(pod), len(limited), strings.Join(names(limited), ", "))
}

func container(pod *corev1.Pod, name string) (c corev1.Container, ok bool) {
	i := slices.IndexFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == name })
	if i < 0 {
		return c, false
	}
	return pod.Spec.Containers[i], true
}

// statusOf is the container's status; nil until the kubelet has reported one.
func statusOf(pod *corev1.Pod, name string) *corev1.ContainerStatus {
	for i := range pod.Status.ContainerStatuses {
		if s := &pod.Status.ContainerStatuses[i]; s.Name == name {
			return s
		}
	}
	return nil
}

// resizable says why the container of the pod must not be resized now, if so.
func resizable(pod *corev1.Pod, c corev1.Container, allowRestart bool) error {
	if err := alive(pod); err != nil {
		return err
	}
	if pod.Annotations[corev1.MirrorPodAnnotationKey] != "" {
		return fmt.Errorf("pod %s is a static pod: its file on the node is what counts", ref(pod))
	}
	if helpers.IsPodLevelResourcesSet(pod) {
		return fmt.Errorf("pod %s has resources for the whole pod (spec.resources), which are not changed by kmend", ref(pod))
	}
	s := statusOf(pod, c.Name)
	if s == nil || s.State.Running == nil {
		return fmt.Errorf("container %s of pod %s is not running", c.Name, ref(pod))
	}
	if p := pending(pod, 0); p != nil {
		return fmt.Errorf("pod %s has a resize that is not finished (%s)", ref(pod), describe(p))
	}
	if s.Resources != nil && s.Resources.Limits.Cpu().MilliValue() != cpuOf(c.Resources).limit {
		return fmt.Errorf("container %s of pod %s has a CPU limit of %s in its spec but runs with %s: a resize is in flight",
			c.Name, ref(pod), action.CPUs(cpuOf(c.Resources).limit), action.CPUs(s.Resources.Limits.Cpu().MilliValue()))
	}
	for _, p := range c.ResizePolicy {
		if p.ResourceName == corev1.ResourceCPU && p.RestartPolicy == corev1.RestartContainer && !allowRestart {
			return fmt.Errorf("container %s of pod %s restarts when its CPU is resized (resizePolicy); set with.allowRestart to accept that", c.Name, ref(pod))
		}
	}
	return nil
}

// alive refuses pods that are on their way out or not yet on a node.
func alive(pod *corev1.Pod) error {
	switch {
	case pod.DeletionTimestamp != nil:
		return fmt.Errorf("pod %s is being deleted", ref(pod))
	case pod.Spec.NodeName == "":
		return fmt.Errorf("pod %s is on no node", ref(pod))
	case pod.Status.Phase != corev1.PodRunning:
		return fmt.Errorf("pod %s is %s, not Running", ref(pod), pod.Status.Phase)
	}
	return nil
}

func names(cs []corev1.Container) (out []string) {
	for _, c := range cs {
		out = append(out, c.Name)
	}
	return out
}

func ref(pod *corev1.Pod) string { return pod.Namespace + "/" + pod.Name }
