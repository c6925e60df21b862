package guard

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	client "k8s.io/client-go/kubernetes"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/workload"
	"github.com/kmend/kmend/policies"
)

// OptOut is the annotation that keeps kmend away from a pod, its workload, its
// namespace or its node, when its value is "false".
const OptOut = "kmend.dev/remediate"

// Cluster asks the Kubernetes API about a plan's target. Nil is no cluster.
type Cluster struct {
	client client.Interface
	census *census
}

// NewCluster makes a Cluster; deploy/rbac/base.yaml has the rights that it needs.
func NewCluster(c client.Interface) *Cluster { return &Cluster{c, newCensus(c)} }

// facts fills in what the API says of the plan's pod or node: nothing for a
// target that is neither. extents are the parts of the cluster to count.
func (c *Cluster) facts(ctx context.Context, plan incident.Plan, extents []string, f *policies.Facts) error {
	t := plan.Target
	switch {
	case t.Pod == "" && (t.Unit != "" || t.Cgroup != "" || t.PID != 0 || t.Node == ""):
		return nil // a plain host
	case c == nil && t.Pod == "":
		return nil
	case c == nil:
		return fmt.Errorf("the Kubernetes API is not configured; set kubernetes.enabled in kmend.yaml")
	}
	look := look{c.client, c.census, f, policies.Cluster{Extents: map[string]policies.Extent{}}}
	var err error
	if t.Pod != "" {
		err = look.pod(ctx, t, adds(plan), extents)
	} else {
		err = look.node(ctx, t.Node, extents)
	}
	if err == nil {
		f.Cluster = &look.found
	}
	return err
}

// look is one look at the cluster.
type look struct {
	client client.Interface
	census *census
	facts  *policies.Facts
	found  policies.Cluster
}

func (l *look) pod(ctx context.Context, t incident.Target, room bool, extents []string) error {
	pod, err := l.client.CoreV1().Pods(t.Namespace).Get(ctx, t.Pod, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading pod %s/%s: %w", t.Namespace, t.Pod, err)
	}
	owner, err := workload.Of(ctx, l.client, pod)
	if err != nil {
		return err
	}
	l.optedOut("pod "+t.Namespace+"/"+t.Pod, pod.ObjectMeta)
	l.facts.Scope.Node = pod.Spec.NodeName
	if owner.Name != "" {
		name := pod.Namespace + "/" + owner.Kind + "/" + owner.Name
		l.facts.Scope.Owner = name
		l.optedOut(owner.Kind+" "+pod.Namespace+"/"+owner.Name, owner.Meta)
		for _, tool := range workload.Managers(pod.ObjectMeta, owner.Meta) {
			l.found.GitOps = append(l.found.GitOps, fmt.Sprintf("%s (%s)", tool, owner))
		}
		if l.found.HPA, err = workload.Horizontal(ctx, l.client, pod.Namespace, owner); err != nil {
			return err
		}
		if l.found.VPA, err = workload.Vertical(ctx, l.client, pod.Namespace, owner); err != nil {
			return err
		}
	} else {
		l.found.GitOps = workload.Managers(pod.ObjectMeta)
	}
	if owner.Counted {
		others := owner.Ready
		if ready(pod) {
			others--
		}
		l.found.Owner = &policies.Owner{Extent: policies.Extent{Total: owner.Wanted, Disrupted: owner.Disrupted()}, OthersReady: max(0, others)}
	}
	if err := l.namespace(ctx, pod.Namespace); err != nil {
		return err
	}
	if pod.Spec.NodeName == "" {
		return nil // it is on no node yet
	}
	node, err := l.onNode(ctx, pod.Spec.NodeName)
	if err != nil {
		return err
	}
	return l.pods(ctx, node, room, extents)
}

// node looks at a target that is a node: nodes are counted then.
func (l *look) node(ctx context.Context, name string, extents []string) error {
	node, err := l.onNode(ctx, name)
	if apierrors.IsNotFound(err) {
		return nil // a host that is no node of this cluster
	}
	if err != nil || !slices.Contains(extents, "zone") && !slices.Contains(extents, "cluster") {
		return err
	}
	nodes, err := l.nodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		away := n.Spec.Unschedulable || !slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		})
		l.count("cluster", away)
		if zone := n.Labels[corev1.LabelTopologyZone]; zone == node.Labels[corev1.LabelTopologyZone] {
			l.count("zone", away)
		}
	}
	return nil
}

// onNode reads a node, its zone and whether it keeps kmend away.
func (l *look) onNode(ctx context.Context, name string) (*corev1.Node, error) {
	node, err := l.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading node %s: %w", name, err)
	}
	l.optedOut("node "+name, node.ObjectMeta)
	l.facts.Scope.Node, l.facts.Scope.Zone = name, node.Labels[corev1.LabelTopologyZone]
	return node, nil
}

func (l *look) namespace(ctx context.Context, name string) error {
	ns, err := l.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading namespace %s: %w", name, err)
	}
	l.optedOut("namespace "+name, ns.ObjectMeta)
	return nil
}

func (l *look) optedOut(what string, m metav1.ObjectMeta) {
	if value, set := m.Annotations[OptOut]; set && !strings.EqualFold(value, "true") && l.found.OptedOut == "" {
		l.found.OptedOut = fmt.Sprintf("%s is annotated %s: %q", what, OptOut, value)
	}
}

// pods counts the pods around the target and the room on its node, asking for no
// more of them than the guards count.
func (l *look) pods(ctx context.Context, node *corev1.Node, room bool, extents []string) error {
	counts := func(kind string) bool { return slices.Contains(extents, kind) }
	everywhere := counts("zone") || counts("cluster")
	if everywhere {
		if err := l.everywhere(ctx, node, counts); err != nil {
			return err
		}
	}
	var pods []corev1.Pod
	for _, ask := range []struct {
		wanted    bool
		namespace string
		options   metav1.ListOptions
	}{
		{!everywhere && counts("namespace"), l.facts.Scope.Namespace, metav1.ListOptions{}},
		{!everywhere && counts("node") || room, metav1.NamespaceAll, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node.Name).String()}},
	} {
		if !ask.wanted {
			continue
		}
		list, err := l.client.CoreV1().Pods(ask.namespace).List(ctx, ask.options)
		if err != nil {
			return fmt.Errorf("listing pods: %w", err)
		}
		pods = append(pods, list.Items...)
	}
	seen := map[string]bool{}
	var here []corev1.Pod
	for i := range pods {
		p := &pods[i]
		if workload.Ended(p) || seen[string(p.UID)] {
			continue
		}
		seen[string(p.UID)] = true
		on := p.Spec.NodeName == node.Name
		for kind, in := range map[string]bool{"namespace": p.Namespace == l.facts.Scope.Namespace, "node": on} {
			if in && counts(kind) && !everywhere {
				l.count(kind, !ready(p))
			}
		}
		if on {
			here = append(here, *p)
		}
	}
	if room {
		cpu, freeCPU := workload.Room(node, here, corev1.ResourceCPU)
		memory, freeMemory := workload.Room(node, here, corev1.ResourceMemory)
		l.found.Room = &policies.Room{CPU: cpu.AsApproximateFloat64(), FreeCPU: freeCPU.AsApproximateFloat64(),
			Memory: memory.AsApproximateFloat64(), FreeMemory: freeMemory.AsApproximateFloat64()}
	}
	return nil
}

// everywhere counts what takes a look at the whole cluster.
func (l *look) everywhere(ctx context.Context, node *corev1.Node, counts func(kind string) bool) error {
	all, err := l.census.take(ctx)
	if err != nil {
		return err
	}
	for kind, e := range map[string]policies.Extent{"cluster": all.cluster, "zone": all.zones[node.Labels[corev1.LabelTopologyZone]], "namespace": all.namespaces[l.facts.Scope.Namespace], "node": all.nodes[node.Name]} {
		if counts(kind) {
			l.found.Extents[kind] = e
		}
	}
	return nil
}

func (l *look) nodes(ctx context.Context) ([]corev1.Node, error) {
	list, err := l.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	return list.Items, nil
}

func (l *look) count(kind string, disrupted bool) {
	l.found.Extents[kind] = more(l.found.Extents[kind], disrupted)
}

func ready(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
