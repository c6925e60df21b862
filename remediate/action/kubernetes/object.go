package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/workload"
)

// The API's names of what is edited here.
const (
	pods         = "v1/pods"
	nodes        = "v1/nodes"
	services     = "v1/services"
	configMaps   = "v1/configmaps"
	deployments  = "apps/v1/deployments"
	statefulSets = "apps/v1/statefulsets"
	daemonSets   = "apps/v1/daemonsets"
	replicaSets  = "apps/v1/replicasets"
	revisions    = "apps/v1/controllerrevisions"
	hpas         = "autoscaling/v2/horizontalpodautoscalers"
	cronJobs     = "batch/v1/cronjobs"
	httpRoutes   = "gateway.networking.k8s.io/v1/httproutes"
)

// apiOf is the API's name of a kind of workload, "" for what is none.
func apiOf(kind string) string {
	switch kind {
	case "Deployment":
		return deployments
	case "StatefulSet":
		return statefulSets
	case "DaemonSet":
		return daemonSets
	case "ReplicaSet":
		return replicaSets
	}
	return ""
}

// get reads an object that exists and is not being deleted.
func (c *cluster) get(ctx context.Context, api, kind, namespace, name string) (*unstructured.Unstructured, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Request)
	defer cancel()
	o, err := c.at(edit{API: api, Namespace: namespace}).Get(ctx, name, metav1.GetOptions{})
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", objectName(kind, namespace, name), err)
	case o.GetDeletionTimestamp() != nil:
		return nil, fmt.Errorf("%s is being deleted", objectName(kind, namespace, name))
	}
	o.SetKind(kind)
	return o, nil
}

// read1 is like get, for a type of the API's Go package.
func read1[T any](ctx context.Context, c *cluster, api, kind, namespace, name string) (*T, *unstructured.Unstructured, error) {
	o, err := c.get(ctx, api, kind, namespace, name)
	if err != nil {
		return nil, nil, err
	}
	v, err := typed[T](o)
	return v, o, err
}

func typed[T any](o *unstructured.Unstructured) (*T, error) {
	v := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, v); err != nil {
		return nil, fmt.Errorf("understanding %s: %w", objectName(o.GetKind(), o.GetNamespace(), o.GetName()), err)
	}
	return v, nil
}

// targetPod reads the pod of the target: the very one that was measured.
func (c *cluster) targetPod(ctx context.Context, target incident.Target) (*corev1.Pod, *unstructured.Unstructured, error) {
	if target.Namespace == "" || target.Pod == "" {
		return nil, nil, fmt.Errorf("the target (%s) names no pod with its namespace", target)
	}
	pod, o, err := read1[corev1.Pod](ctx, c, pods, "Pod", target.Namespace, target.Pod)
	if err != nil {
		return nil, nil, err
	}
	if target.PodUID != "" && target.PodUID != string(pod.UID) {
		return nil, nil, fmt.Errorf("pod %s was replaced since it was measured (uid %s, was %s)", ref(pod), pod.UID, target.PodUID)
	}
	return pod, o, nil
}

// NodeOf are the parameters of actions on a node.
type NodeOf struct {
	// Node is the node's name; empty: the node of the target's pod, else the target's node.
	Node string `json:"node,omitempty" jsonschema:"maxLength=253" jsonschema_description:"Name of the node. Without it: the node of the target's pod, else the target's node."`
}

// node reads the node that the runbook names, else that of the target.
func (c *cluster) node(ctx context.Context, target incident.Target, p NodeOf) (*corev1.Node, *unstructured.Unstructured, error) {
	name := p.Node
	if name == "" && target.Pod != "" {
		pod, _, err := c.targetPod(ctx, target)
		if err != nil {
			return nil, nil, err
		}
		if name = pod.Spec.NodeName; name == "" {
			return nil, nil, fmt.Errorf("pod %s is on no node", ref(pod))
		}
	}
	if name = orElse(name, target.Node); name == "" {
		return nil, nil, fmt.Errorf("the target (%s) has no node, and the runbook names none (with.node)", target)
	}
	return read1[corev1.Node](ctx, c, nodes, "Node", "", name)
}

// WorkloadOf are the parameters of actions on a workload.
type WorkloadOf struct {
	Kind      string `json:"kind,omitempty" jsonschema:"enum=Deployment,enum=StatefulSet,enum=DaemonSet" jsonschema_description:"Kind of the workload that the runbook names. Without kind and name: the one that owns the target's pod."`
	Name      string `json:"name,omitempty" jsonschema:"maxLength=253" jsonschema_description:"Name of the workload."`
	Namespace string `json:"namespace,omitempty" jsonschema:"maxLength=63" jsonschema_description:"Its namespace. Without it: the target's."`
}

// owning reads the workload that the runbook names, else the one that owns the
// target's pod, which must be of one of the kinds given.
func (c *cluster) owning(ctx context.Context, target incident.Target, p WorkloadOf, kinds ...string) (*unstructured.Unstructured, error) {
	var o *unstructured.Unstructured
	var err error
	switch {
	case (p.Kind == "") != (p.Name == ""):
		return nil, errors.New("with.kind and with.name name a workload together: give both, or none for the one that owns the target's pod")
	case p.Kind != "":
		namespace, e := namespaceOf(target, p.Namespace)
		if e != nil {
			return nil, e
		}
		if apiOf(p.Kind) != "" {
			o, err = c.get(ctx, apiOf(p.Kind), p.Kind, namespace, p.Name)
		}
	case p.Namespace != "":
		return nil, errors.New("with.namespace goes with with.kind and with.name")
	default:
		var pod *unstructured.Unstructured
		if _, pod, err = c.targetPod(ctx, target); err == nil {
			o, err = c.ownerOf(ctx, pod)
		}
	}
	if err != nil {
		return nil, err
	}
	if o == nil || !slices.Contains(kinds, o.GetKind()) {
		kind := p.Kind
		if o != nil {
			kind = o.GetKind()
		}
		return nil, fmt.Errorf("a %s cannot be changed by this action; it can change: %s", kind, strings.Join(kinds, ", "))
	}
	return o, nil
}

// ownerOf follows the controllers up from an object to the one that has none,
// checking that each is the very one that the object names.
func (c *cluster) ownerOf(ctx context.Context, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	for depth := 0; ; depth++ {
		r := metav1.GetControllerOf(o)
		switch {
		case r == nil && depth == 0:
			return nil, fmt.Errorf("%s belongs to no workload", objectName(o.GetKind(), o.GetNamespace(), o.GetName()))
		case r == nil:
			return o, nil
		case apiOf(r.Kind) == "" || !strings.HasPrefix(r.APIVersion, "apps/") || depth > 3:
			return nil, fmt.Errorf("%s belongs to %s %s, which kmend does not change", objectName(o.GetKind(), o.GetNamespace(), o.GetName()), r.Kind, r.Name)
		}
		above, err := c.get(ctx, apiOf(r.Kind), r.Kind, o.GetNamespace(), r.Name)
		if err != nil {
			return nil, err
		}
		if above.GetUID() != r.UID {
			return nil, fmt.Errorf("%s was replaced since %s was made", objectName(r.Kind, o.GetNamespace(), r.Name), o.GetName())
		}
		o = above
	}
}

// namespaceOf is the namespace that the runbook names, else the target's. The
// cluster's own are refused unless the target is there: a policy that protects
// them looks at the target.
func namespaceOf(target incident.Target, named string) (string, error) {
	if strings.HasPrefix(named, "kube-") && named != target.Namespace {
		return "", fmt.Errorf("with.namespace: %s belongs to the cluster itself, and the target (%s) is not in it", named, target)
	}
	if n := orElse(named, target.Namespace); n != "" {
		return n, nil
	}
	return "", fmt.Errorf("the target (%s) has no namespace, and the runbook names none (with.namespace)", target)
}

// managed warns of tools that will take a change of these objects back.
func managed(objects ...*unstructured.Unstructured) string {
	var metas []metav1.ObjectMeta
	for _, o := range objects {
		metas = append(metas, metav1.ObjectMeta{Labels: o.GetLabels(), Annotations: o.GetAnnotations()})
	}
	if by := workload.Managers(metas...); len(by) > 0 {
		return "; managed by " + strings.Join(by, ", ") + ": change it there too"
	}
	return ""
}
