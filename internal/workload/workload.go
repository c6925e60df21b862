// Package workload finds what a pod belongs to in the Kubernetes API: the
// workload that made it, how many of its pods serve, and what else sets the same
// things. The guards ask it before a plan is allowed (internal/guard), and plans
// warn of it (remediate/action/kubernetes).
package workload

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	client "k8s.io/client-go/kubernetes"
)

// Owner is the workload of a pod. The zero Owner is that of a pod without one.
type Owner struct {
	Kind, Name string
	Meta       metav1.ObjectMeta // labels and annotations of the workload
	Counted    bool              // its kind counts its pods
	Wanted     int               // pods that it wants
	Ready      int               // of those that it has
	Updated    int               // that are as its template says; fewer than Wanted while a rollout is in flight
}

// String is "Deployment web".
func (o Owner) String() string { return o.Kind + " " + o.Name }

// Disrupted are the pods that do not serve, or are still to be replaced.
func (o Owner) Disrupted() int { return max(0, o.Wanted-o.Ready, o.Wanted-o.Updated) }

// Of reads the workload of a pod. An owner of a kind that is not known has its
// name only.
func Of(ctx context.Context, c client.Interface, pod *corev1.Pod) (Owner, error) {
	ref := metav1.GetControllerOf(pod)
	if ref == nil {
		return Owner{}, nil
	}
	o := Owner{Kind: ref.Kind, Name: ref.Name}
	// A ReplicaSet of a Deployment is named DEPLOYMENT-HASH, and the pod has the hash as a label.
	if hash := pod.Labels["pod-template-hash"]; o.Kind == "ReplicaSet" && hash != "" && strings.HasSuffix(o.Name, "-"+hash) {
		o.Kind, o.Name = "Deployment", strings.TrimSuffix(o.Name, "-"+hash)
	}
	var err error
	apps, get := c.AppsV1(), metav1.GetOptions{}
	switch o.Kind {
	case "Deployment":
		d, e := apps.Deployments(pod.Namespace).Get(ctx, o.Name, get)
		if err = e; err == nil {
			o.Meta = d.ObjectMeta
			o.count(d.Spec.Replicas, d.Status.ReadyReplicas, d.Status.UpdatedReplicas, d.Status.ObservedGeneration)
		}
	case "StatefulSet":
		s, e := apps.StatefulSets(pod.Namespace).Get(ctx, o.Name, get)
		if err = e; err == nil {
			o.Meta = s.ObjectMeta
			updated := s.Status.UpdatedReplicas
			if s.Status.CurrentRevision == s.Status.UpdateRevision {
				updated = s.Status.Replicas
			}
			o.count(s.Spec.Replicas, s.Status.ReadyReplicas, updated, s.Status.ObservedGeneration)
		}
	case "DaemonSet":
		d, e := apps.DaemonSets(pod.Namespace).Get(ctx, o.Name, get)
		if err = e; err == nil {
			o.Meta = d.ObjectMeta
			o.count(&d.Status.DesiredNumberScheduled, d.Status.NumberReady, d.Status.UpdatedNumberScheduled, d.Status.ObservedGeneration)
		}
	case "ReplicaSet":
		r, e := apps.ReplicaSets(pod.Namespace).Get(ctx, o.Name, get)
		if err = e; err == nil {
			o.Meta = r.ObjectMeta
			o.count(r.Spec.Replicas, r.Status.ReadyReplicas, r.Status.Replicas, r.Status.ObservedGeneration)
		}
	}
	if err != nil {
		return o, fmt.Errorf("reading %s %s/%s: %w", o.Kind, pod.Namespace, o.Name, err)
	}
	return o, nil
}

// count takes over what the workload's status says. A status of an older
// generation says nothing: somebody has just changed the workload, so none of its
// pods is taken for ready.
func (o *Owner) count(wanted *int32, ready, updated int32, observed int64) {
	o.Counted, o.Wanted = true, 1
	if wanted != nil {
		o.Wanted = int(*wanted)
	}
	if observed >= o.Meta.Generation {
		o.Ready, o.Updated = int(ready), int(updated)
	}
}

// tools are the labels and annotations that deployment tools leave.
var tools = map[string]string{
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

// Managers names the deployment tools that keep an object as it is elsewhere.
func Managers(objects ...metav1.ObjectMeta) []string {
	found := map[string]bool{}
	for _, m := range objects {
		for _, set := range []map[string]string{m.Labels, m.Annotations} {
			for key, value := range set {
				if tool, ok := tools[key]; ok && tool+value != "" {
					if tool == "" {
						tool = value
					}
					found[tool] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// Horizontal names the HorizontalPodAutoscalers of a workload.
func Horizontal(ctx context.Context, c client.Interface, namespace string, o Owner) (names []string, err error) {
	list, err := c.AutoscalingV2().HorizontalPodAutoscalers(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing the horizontal autoscalers of %s: %w", namespace, err)
	}
	for _, h := range list.Items {
		if t := h.Spec.ScaleTargetRef; t.Kind == o.Kind && t.Name == o.Name {
			names = append(names, "HorizontalPodAutoscaler "+h.Name)
		}
	}
	return names, nil
}

// Vertical names the VerticalPodAutoscalers of a workload. They are a custom
// resource, so most clusters do not know the path: none.
func Vertical(ctx context.Context, c client.Interface, namespace string, o Owner) (names []string, err error) {
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Spec     struct{ TargetRef struct{ Kind, Name string } }
		}
	}
	err = custom(ctx, c, "/apis/autoscaling.k8s.io/v1/namespaces/"+namespace+"/verticalpodautoscalers", &list)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the vertical autoscalers of %s: %w", namespace, err)
	}
	for _, v := range list.Items {
		if t := v.Spec.TargetRef; t.Kind == o.Kind && t.Name == o.Name {
			names = append(names, "VerticalPodAutoscaler "+v.Metadata.Name)
		}
	}
	return names, nil
}
