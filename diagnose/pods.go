package diagnose

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kmend/kmend/incident"
)

// mirrorUID is the uid that the kubelet knows a static pod by; its cgroup is
// named after it, not after the uid of the mirror in the API.
const mirrorUID = "kubernetes.io/config.mirror"

// podLookup asks the Kubernetes API where a pod is.
type podLookup struct{ client kubernetes.Interface }

// locate fills in the node, the pod's uid and the container's id. A target that
// is no pod, and any without a client, passes as it is. No container named
// means all of the pod.
func (l podLookup) locate(ctx context.Context, t incident.Target) (incident.Target, error) {
	if t.Pod == "" || l.client == nil {
		return t, nil
	}
	pod, err := l.client.CoreV1().Pods(t.Namespace).Get(ctx, t.Pod, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return t, obstacleError(fmt.Sprintf("pod %s/%s is gone: the Kubernetes API does not know it", t.Namespace, t.Pod))
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return t, obstacleError(fmt.Sprintf("the Kubernetes API does not let kmend read pod %s/%s (%s); grant it get on pods", t.Namespace, t.Pod, apierrors.ReasonForError(err)))
	case err != nil:
		return t, fmt.Errorf("looking up pod %s/%s: %w", t.Namespace, t.Pod, err)
	}
	return place(t, pod)
}

// place reads what is needed of the pod.
func place(t incident.Target, pod *corev1.Pod) (incident.Target, error) {
	name := t.Namespace + "/" + t.Pod
	uid := string(pod.UID)
	if static := pod.Annotations[mirrorUID]; static != "" {
		uid = static
	}
	switch {
	case t.PodUID != "" && t.PodUID != uid:
		return t, obstacleError(fmt.Sprintf("pod %s is gone: another pod of its name has taken its place", name))
	case pod.Spec.NodeName == "":
		return t, obstacleError(fmt.Sprintf("pod %s is not scheduled: %s", name, unscheduled(pod)))
	case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		return t, obstacleError(fmt.Sprintf("pod %s has ended (%s): nothing of it runs any more", name, pod.Status.Phase))
	}
	t.Node, t.PodUID = pod.Spec.NodeName, uid
	if t.Container == "" {
		return t, nil
	}
	var names []string
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		for _, s := range statuses {
			if s.Name != t.Container {
				names = append(names, s.Name)
				continue
			}
			if s.State.Running == nil || s.ContainerID == "" {
				return t, obstacleError(fmt.Sprintf("container %s of pod %s does not run: %s", t.Container, name, stateOf(s)))
			}
			_, t.ContainerID, _ = strings.Cut(s.ContainerID, "://")
			return t, nil
		}
	}
	return t, obstacleError(fmt.Sprintf("pod %s has no container %s with a status yet; it has: %s", name, t.Container, orNone(names)))
}

func unscheduled(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Message != "" {
			return c.Message
		}
	}
	return "it has no node yet"
}

func stateOf(s corev1.ContainerStatus) string {
	switch {
	case s.State.Waiting != nil:
		return "waiting, " + s.State.Waiting.Reason
	case s.State.Terminated != nil:
		return fmt.Sprintf("ended, %s with exit status %d", s.State.Terminated.Reason, s.State.Terminated.ExitCode)
	}
	return "no state reported yet"
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
