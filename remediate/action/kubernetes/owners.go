package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// warnings say who may take the change back or answer to it: the workload whose
// template keeps the old limit, GitOps tools, the autoscalers. They are for the
// person who approves; what may not be read is said too, and nothing fails here.
func (a *ResizeCPU) warnings(ctx context.Context, pod *corev1.Pod) []string {
	w, metas := a.workload(ctx, pod)
	var out []string
	if w.name != "" {
		out = append(out, fmt.Sprintf(lastsShort+": the template of %s keeps the old limit", w))
	}
	if by := managers(metas); len(by) > 0 {
		out = append(out, "managed by "+strings.Join(by, ", ")+": change the limit there too")
	}
	return append(out, a.autoscalers(ctx, pod, w)...)
}

// lastsShort begins the warning that a change of the template takes away.
const lastsShort = "lasts as long as this pod"

// owner is the workload that a pod belongs to: "Deployment web".
type owner struct{ kind, name string }

func (o owner) String() string { return o.kind + " " + o.name }

// workload follows the controllers up from the pod and collects their metadata
// as far as they may be read.
func (a *ResizeCPU) workload(ctx context.Context, pod *corev1.Pod) (owner, []metav1.ObjectMeta) {
	metas := []metav1.ObjectMeta{pod.ObjectMeta}
	c := metav1.GetControllerOf(pod)
	if c == nil {
		return owner{}, metas
	}
	o := owner{c.Kind, c.Name}
	// A ReplicaSet of a Deployment is named DEPLOYMENT-HASH, and the pod has the hash as a label.
	if hash := pod.Labels["pod-template-hash"]; o.kind == "ReplicaSet" && hash != "" && strings.HasSuffix(o.name, "-"+hash) {
		o = owner{"Deployment", strings.TrimSuffix(o.name, "-"+hash)}
	}
	apps := a.client.AppsV1()
	var object metav1.Object
	var err error
	switch o.kind {
	case "Deployment":
		object, err = apps.Deployments(pod.Namespace).Get(ctx, o.name, metav1.GetOptions{})
	case "StatefulSet":
		object, err = apps.StatefulSets(pod.Namespace).Get(ctx, o.name, metav1.GetOptions{})
	case "DaemonSet":
		object, err = apps.DaemonSets(pod.Namespace).Get(ctx, o.name, metav1.GetOptions{})
	default:
		return o, metas
	}
	if err == nil {
		metas = append(metas, metav1.ObjectMeta{Labels: object.GetLabels(), Annotations: object.GetAnnotations()})
	}
	return o, metas
}

// gitops are the labels and annotations that deployment tools leave.
var gitops = map[string]string{
	"argocd.argoproj.io/instance":      "Argo CD",
	"argocd.argoproj.io/tracking-id":   "Argo CD",
	"kustomize.toolkit.fluxcd.io/name": "Flux",
	"helm.toolkit.fluxcd.io/name":      "Flux",
	"meta.helm.sh/release-name":        "Helm",
	"fleet.cattle.io/bundle-id":        "Fleet",
	"configmanagement.gke.io/managed":  "Config Sync",
	"app.kubernetes.io/managed-by":     "", // its value says who
	"kapp.k14s.io/identity":            "kapp",
}

func managers(metas []metav1.ObjectMeta) []string {
	found := map[string]bool{}
	for _, m := range metas {
		for _, set := range []map[string]string{m.Labels, m.Annotations} {
			for key, value := range set {
				if tool, ok := gitops[key]; ok && tool+value != "" {
					found[orElse(tool, value)] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// autoscalers names the horizontal and vertical autoscalers of the workload.
func (a *ResizeCPU) autoscalers(ctx context.Context, pod *corev1.Pod, w owner) (out []string) {
	for key := range pod.Annotations {
		if key == "vpaUpdates" || key == "vpaObservedContainers" {
			out = append(out, "a VerticalPodAutoscaler sets this pod's resources and may set them back")
			break
		}
	}
	if w.name == "" {
		return out
	}
	list, err := a.client.AutoscalingV2().HorizontalPodAutoscalers(pod.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		out = append(out, "horizontal autoscalers were not checked ("+reasonOf(err)+")")
	} else {
		for _, h := range list.Items {
			if t := h.Spec.ScaleTargetRef; t.Kind == w.kind && t.Name == w.name {
				out = append(out, "HorizontalPodAutoscaler "+h.Name+" scales "+w.String()+" and may answer to the change")
			}
		}
	}
	if len(out) > 0 && strings.HasPrefix(out[0], "a VerticalPodAutoscaler") {
		return out
	}
	vertical, err := a.verticals(ctx, pod.Namespace, w)
	if err != nil {
		return append(out, "vertical autoscalers were not checked ("+reasonOf(err)+")")
	}
	for _, name := range vertical {
		out = append(out, "VerticalPodAutoscaler "+name+" sets the resources of "+w.String()+" and may set them back")
	}
	return out
}

// verticals lists the vertical autoscalers of a workload. They are a custom
// resource, so most clusters do not know the path: none.
func (a *ResizeCPU) verticals(ctx context.Context, namespace string, w owner) (out []string, err error) {
	rest := a.client.Discovery().RESTClient()
	if rest == nil || reflect.ValueOf(rest).IsNil() {
		return nil, nil
	}
	raw, err := rest.Get().AbsPath("/apis/autoscaling.k8s.io/v1/namespaces", namespace, "verticalpodautoscalers").DoRaw(ctx)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Spec     struct{ TargetRef struct{ Kind, Name string } }
		}
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	for _, v := range list.Items {
		if v.Spec.TargetRef.Kind == w.kind && v.Spec.TargetRef.Name == w.name {
			out = append(out, v.Metadata.Name)
		}
	}
	return out, nil
}

// reasonOf is the API's word for an error: Forbidden, ServiceUnavailable.
func reasonOf(err error) string {
	return orElse(string(apierrors.ReasonForError(err)), "no answer")
}
