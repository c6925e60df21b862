package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	client "k8s.io/client-go/kubernetes"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action"
)

// Name is what runbooks write for ResizeCPU.
const Name = "kubernetes.resize_cpu"

// Params are the parameters of kubernetes.resize_cpu.
type Params struct {
	// Factor: the new CPU limit is the present one times this.
	Factor float64 `json:"factor,omitempty" jsonschema:"description=The new CPU limit is the present one times this.,default=2,exclusiveMinimum=1,maximum=10"`
	// Max: the new limit is never over this many CPUs, nor over what the node can still allocate.
	Max action.CPUs `json:"max" jsonschema_description:"Never over this many CPUs: 2 or 500m."`
	// AllowRestart accepts a container whose resizePolicy restarts it.
	AllowRestart bool `json:"allowRestart,omitempty" jsonschema:"description=Accept a container whose resizePolicy restarts it when its CPU is resized."`
	// Template changes the template of the owning workload too, so that the change lasts.
	Template bool `json:"template,omitempty" jsonschema_description:"Change the template of the owning workload too, so that the change lasts. For most workloads this begins a rollout."`
}

// ResizeCPU is the action kubernetes.resize_cpu.
type ResizeCPU struct {
	client    client.Interface
	opts      Options
	templates *cluster // for with.template; nil: refused
}

var _ action.Action = (*ResizeCPU)(nil)

// NewResizeCPU makes the action for the cluster of c.
func NewResizeCPU(c client.Interface, opts Options) (*ResizeCPU, error) {
	if c == nil {
		return nil, errors.New("kubernetes.resize_cpu: no client")
	}
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	return &ResizeCPU{client: c, opts: opts}, nil
}

// Name is kubernetes.resize_cpu.
func (*ResizeCPU) Name() string { return Name }

// Params is *Params.
func (*ResizeCPU) Params() any { return &Params{} }

// Preview computes the new limit and sends it to the API server as a dry run, so
// that RBAC, admission, quotas and limit ranges answer; the plan carries what
// the server would store. It changes nothing.
func (a *ResizeCPU) Preview(ctx context.Context, target incident.Target, with map[string]any) (incident.Preview, error) {
	for try := 1; ; try++ {
		p, err := a.plan(ctx, target, with)
		if !apierrors.IsConflict(err) || try == attempts {
			return p, err
		} // a status was written meanwhile
	}
}

func (a *ResizeCPU) plan(ctx context.Context, target incident.Target, with map[string]any) (incident.Preview, error) {
	p, err := params(with)
	if err != nil {
		return incident.Preview{}, err
	}
	if target.Namespace == "" || target.Pod == "" {
		return incident.Preview{}, fmt.Errorf("the target (%s) names no pod with its namespace", target)
	}
	pod, err := a.client.CoreV1().Pods(target.Namespace).Get(ctx, target.Pod, metav1.GetOptions{})
	if err != nil {
		return incident.Preview{}, fmt.Errorf("reading pod %s/%s: %w", target.Namespace, target.Pod, err)
	}
	if target.PodUID != "" && target.PodUID != string(pod.UID) {
		return incident.Preview{}, fmt.Errorf("pod %s was replaced since it was measured (uid %s, was %s)", ref(pod), pod.UID, target.PodUID)
	}
	c, err := pick(pod, target.Container)
	if err != nil {
		return incident.Preview{}, err
	}
	if err := resizable(pod, c, p.AllowRestart); err != nil {
		return incident.Preview{}, err
	}
	node, err := a.room(ctx, pod.Spec.NodeName)
	if err != nil {
		return incident.Preview{}, err
	}
	now, class := cpuOf(c.Resources), qos(pod.Spec)
	wanted, bound, err := raise(now, class == corev1.PodQOSGuaranteed, p.Factor, p.Max, node)
	if err != nil {
		return incident.Preview{}, fmt.Errorf("container %s of pod %s: %w", c.Name, ref(pod), err)
	}
	answer, err := a.patch(ctx, pod, c.Name, now, wanted, metav1.DryRunAll)
	if err != nil {
		return incident.Preview{}, fmt.Errorf("asking the API server for a dry run of the resize: %w", err)
	}
	if err := may(ctx, a.client, a.opts, announcing(pod.Namespace)); err != nil {
		return incident.Preview{}, err
	}
	stored, err := a.accept(answer, c.Name, now, wanted, class)
	if err != nil {
		return incident.Preview{}, err
	}
	r := resize{namespace: pod.Namespace, pod: pod.Name, uid: string(pod.UID), container: c.Name, plan: pod.ResourceVersion, generation: pod.Generation, from: now, to: stored, allowRestart: p.AllowRestart}
	warnings := a.warnings(ctx, pod)
	var second change
	if p.Template {
		if second, err = a.planTemplate(ctx, target, r); err != nil {
			return incident.Preview{}, err
		}
		warnings = slices.DeleteFunc(warnings, func(w string) bool { return strings.HasPrefix(w, lastsShort) })
	}
	preview := incident.Preview{
		Summary: summary(r, bound, warnings) + second.summary,
		Before:  now.String(),
		After:   stored.String(),
		Server: fmt.Sprintf("kubernetes server-side dry run: limits.cpu=%s requests.cpu=%s qosClass=%s",
			quantity(stored.limit), quantity(stored.request), answer.Status.QOSClass),
		Preconditions: map[string]string{
			"uid": r.uid, "resourceVersion": pod.ResourceVersion, "generation": itoa(pod.Generation),
			"limits.cpu": quantity(now.limit).String(), "requests.cpu": quantity(now.request).String(),
		},
		Apply: r.encode(),
		Adds:  map[string]float64{"cpu": float64(stored.limit-now.limit) / 1000},
	}
	if p.Template {
		preview.Apply = withTemplate(preview.Apply, second.encode()["change"])
		preview.Timeout = stepTimeout(second.limit() + a.opts.Wait)
		maps.Copy(preview.Preconditions, second.preconditions())
	}
	return preview, nil
}

// accept checks the dry run's answer. Admission may have lowered what was asked
// for; more than that, or nothing, is not what the plan says.
func (a *ResizeCPU) accept(answer *corev1.Pod, name string, now, wanted cpu, class corev1.PodQOSClass) (cpu, error) {
	c, ok := container(answer, name)
	if !ok {
		return cpu{}, fmt.Errorf("the dry run's answer has no container %s", name)
	}
	stored := cpuOf(c.Resources)
	if stored.limit <= now.limit || stored.limit > wanted.limit || stored.request > wanted.request {
		return cpu{}, fmt.Errorf("the API server would store %s instead of %s: an admission webhook changes it", stored, wanted)
	}
	if got := qos(answer.Spec); got != class {
		return cpu{}, fmt.Errorf("the resize would change the pod's QoS class from %s to %s", class, got)
	}
	return stored, nil
}

// room reads how much of the node is free.
func (a *ResizeCPU) room(ctx context.Context, name string) (room, error) {
	node, err := a.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return room{}, fmt.Errorf("reading node %s: %w", name, err)
	}
	pods, err := a.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.nodeName", name).String(),
	})
	if err != nil {
		return room{}, fmt.Errorf("listing the pods on node %s: %w", name, err)
	}
	return roomOn(node, pods.Items), nil
}

func params(with map[string]any) (p Params, err error) {
	if err := action.Decode(with, &p); err != nil {
		return p, err
	}
	if p.Max == 0 {
		return p, errors.New("with.max is missing: give the most CPUs that the limit may reach, for example 4")
	}
	p.Factor, err = action.Factor(p.Factor)
	return p, err
}

func summary(r resize, bound string, warnings []string) string {
	s := fmt.Sprintf("raise the CPU limit of container %s in pod %s/%s from %s to %s in place", r.container, r.namespace, r.pod, number(r.from.limit), action.CPUs(r.to.limit))
	if r.to.request != r.from.request {
		s += fmt.Sprintf(", its request from %s to %s", number(r.from.request), action.CPUs(r.to.request))
	}
	if bound != "" {
		s += " (no further: " + bound + ")"
	}
	for _, w := range warnings {
		s += "; " + w
	}
	return s
}
