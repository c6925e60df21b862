package kubernetes

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/kmend/kmend/internal/workload"
)

// warnings say who may take the change back or answer to it: the workload whose
// template keeps the old limit, GitOps tools, the autoscalers. They are for the
// person who approves; what may not be read is said too, and nothing fails here.
func (a *ResizeCPU) warnings(ctx context.Context, pod *corev1.Pod) []string {
	w, _ := workload.Of(ctx, a.client, pod) // its name is known, whatever may be read
	var out []string
	if w.Name != "" {
		out = append(out, fmt.Sprintf(lastsShort+": the template of %s keeps the old limit", w))
	}
	if by := workload.Managers(pod.ObjectMeta, w.Meta); len(by) > 0 {
		out = append(out, "managed by "+strings.Join(by, ", ")+": change the limit there too")
	}
	return append(out, a.autoscalers(ctx, pod, w)...)
}

// lastsShort begins the warning that a change of the template takes away.
const lastsShort = "lasts as long as this pod"

// autoscalers names the horizontal and vertical autoscalers of the workload.
func (a *ResizeCPU) autoscalers(ctx context.Context, pod *corev1.Pod, w workload.Owner) (out []string) {
	_, updated := pod.Annotations["vpaUpdates"]
	_, observed := pod.Annotations["vpaObservedContainers"]
	if updated || observed {
		out = append(out, "a VerticalPodAutoscaler sets this pod's resources and may set them back")
	}
	if w.Name == "" {
		return out
	}
	names, err := workload.Horizontal(ctx, a.client, pod.Namespace, w)
	if err != nil {
		out = append(out, "horizontal autoscalers were not checked ("+reasonOf(err)+")")
	}
	for _, name := range names {
		out = append(out, name+" scales "+w.String()+" and may answer to the change")
	}
	if updated || observed {
		return out
	}
	if names, err = workload.Vertical(ctx, a.client, pod.Namespace, w); err != nil {
		return append(out, "vertical autoscalers were not checked ("+reasonOf(err)+")")
	}
	for _, name := range names {
		out = append(out, name+" sets the resources of "+w.String()+" and may set them back")
	}
	return out
}

// reasonOf is the API's word for an error: Forbidden, ServiceUnavailable.
func reasonOf(err error) string {
	return orElse(string(apierrors.ReasonForError(err)), "no answer")
}
