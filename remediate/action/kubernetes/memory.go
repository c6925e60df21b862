package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	helpers "k8s.io/component-helpers/resource"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/workload"
	"github.com/kmend/kmend/remediate/action"
)

// MemoryParams are the parameters of kubernetes.resize_memory.
type MemoryParams struct {
	Factor       float64 `json:"factor,omitempty" jsonschema:"default=2,exclusiveMinimum=1,maximum=10" jsonschema_description:"The new memory limit is the present one times this."`
	Max          string  `json:"max" jsonschema:"pattern=^[0-9]+(\\.[0-9]+)?([KMGT]i?)?$" jsonschema_description:"Never over this much memory: 512Mi or 2Gi."`
	AllowRestart bool    `json:"allowRestart,omitempty" jsonschema_description:"Accept a container whose resizePolicy restarts it when its memory is resized."`
	Template     bool    `json:"template,omitempty" jsonschema_description:"Change the template of the owning workload too, so that the change lasts. For most workloads this begins a rollout."`
	Bounded
}

func (c *cluster) resizeMemory() *editor {
	return &editor{cluster: c, name: "kubernetes.resize_memory", params: func() any { return &MemoryParams{} }, plan: c.planMemory, shown: c.memoryResized}
}

func (c *cluster) planMemory(ctx context.Context, target incident.Target, with map[string]any) (change, error) {
	var p MemoryParams
	if err := action.Decode(with, &p); err != nil {
		return change{}, err
	}
	factor, err := action.Factor(p.Factor)
	if err != nil {
		return change{}, err
	}
	most, err := resource.ParseQuantity(p.Max)
	if err != nil || most.Sign() <= 0 {
		return change{}, fmt.Errorf("with.max: %q is no amount of memory; write for example 512Mi or 2Gi", p.Max)
	}
	usual := c.opts.Wait
	if p.Template {
		usual = rolloutWait
	}
	wait, err := p.within(usual)
	if err != nil {
		return change{}, err
	}
	pod, o, err := c.targetPod(ctx, target)
	if err != nil {
		return change{}, err
	}
	box, err := limited(pod, target.Container, p.AllowRestart)
	if err != nil {
		return change{}, err
	}
	allocatable, free, err := c.memoryOn(ctx, pod.Spec.NodeName)
	if err != nil {
		return change{}, err
	}
	now, guaranteed := box.Resources.Limits.Memory().Value(), qos(pod.Spec) == corev1.PodQOSGuaranteed
	wanted := min(int64(float64(now)*factor), most.Value(), allocatable, box.Resources.Requests.Memory().Value()+free) &^ (1<<20 - 1)
	if wanted <= now {
		return change{}, fmt.Errorf("nothing to raise: container %s of pod %s has a memory limit of %s, with.max is %s, and the node has %s for pods, %s of it not requested",
			box.Name, ref(pod), bytesOf(now), p.Max, bytesOf(allocatable), bytesOf(free))
	}
	e := edited(pods, o, to(o, bytesOf(wanted), resourcesAt(box.Name, "limits", "memory")...))
	if guaranteed {
		e.Fields = append(e.Fields, to(o, bytesOf(wanted), resourcesAt(box.Name, "requests", "memory")...))
	}
	e.Sub = "resize"
	text := fmt.Sprintf("the memory limit of container %s in pod %s from %s to %s", box.Name, ref(pod), bytesOf(now), bytesOf(wanted))
	ch := change{
		Edits: []edit{e}, Did: "raised " + text, Wait: incident.Duration(wait), Notes: map[string]string{"container": box.Name},
		adds:    map[string]float64{"memory": float64(wanted - now)},
		summary: "raise " + text + " in place", before: "memory limit " + bytesOf(now), after: "memory limit " + bytesOf(wanted),
	}
	if !p.Template {
		ch.summary += "; it lasts as long as this pod"
		return ch, nil
	}
	template, owner, err := c.templateEdit(ctx, o, box.Name, "memory", bytesOf(wanted), guaranteed)
	if err != nil {
		return change{}, err
	}
	ch.Edits = append(ch.Edits, template)
	ch.summary += ", and that of the template of " + template.String() + ", which begins a rollout" + managed(o, owner)
	return ch, nil
}

// limited is the container to resize: the one named, else the only one with a
// memory limit; one that would restart is refused unless that is accepted.
func limited(pod *corev1.Pod, name string, allowRestart bool) (corev1.Container, error) {
	if err := alive(pod); err != nil {
		return corev1.Container{}, err
	}
	if pod.Annotations[corev1.MirrorPodAnnotationKey] != "" || helpers.IsPodLevelResourcesSet(pod) {
		return corev1.Container{}, fmt.Errorf("pod %s is a static pod or has resources for the whole pod (spec.resources), which are not changed by kmend", ref(pod))
	}
	if p := pending(pod, 0); p != nil {
		return corev1.Container{}, fmt.Errorf("pod %s has a resize that is not finished (%s)", ref(pod), describe(p))
	}
	var found []corev1.Container
	for _, c := range pod.Spec.Containers {
		if (name == "" || c.Name == name) && !c.Resources.Limits.Memory().IsZero() {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		return corev1.Container{}, fmt.Errorf("pod %s has %d containers with a memory limit to choose from (%s), not one", ref(pod), len(found), strings.Join(names(found), ", "))
	}
	for _, p := range found[0].ResizePolicy {
		if p.ResourceName == corev1.ResourceMemory && p.RestartPolicy == corev1.RestartContainer && !allowRestart {
			return corev1.Container{}, fmt.Errorf("container %s of pod %s restarts when its memory is resized (resizePolicy); set with.allowRestart to accept that", found[0].Name, ref(pod))
		}
	}
	return found[0], nil
}

// memoryOn is the memory that a node has for pods, and what of it no pod requests, in bytes.
func (c *cluster) memoryOn(ctx context.Context, name string) (allocatable, free int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Request)
	defer cancel()
	node, err := c.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return 0, 0, fmt.Errorf("reading node %s: %w", name, err)
	}
	list, err := c.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", name).String()})
	if err != nil {
		return 0, 0, fmt.Errorf("listing the pods on node %s: %w", name, err)
	}
	has, left := workload.Room(node, list.Items, corev1.ResourceMemory)
	return has.Value(), max(left.Value(), 0), nil // a node that shrank has none
}

// memoryResized says whether the kubelet reports the limit, and whether the
// template's rollout, where there is one, is over.
func (c *cluster) memoryResized(ctx context.Context, ch change) (bool, string, error) {
	for _, e := range ch.Edits {
		if e.Kind != "Pod" {
			if done, why, err := c.rolledOut(ctx, change{Edits: []edit{e}}); !done || err != nil {
				return done, why, err
			}
			continue
		}
		o, err := c.read(ctx, e)
		if errors.Is(err, errNoObject) && len(ch.Edits) > 1 {
			continue // the template's rollout has replaced it
		}
		if err != nil {
			return false, "", err
		}
		pod, err := typed[corev1.Pod](o)
		if err != nil {
			return false, "", err
		}
		if s, _ := e.stands(o); s != asWanted {
			return false, "it is not written", nil
		}
		if done, why, err := memoryShows(pod, ch.Notes["container"]); !done || err != nil {
			return false, why, err
		}
	}
	return true, "", nil
}

func memoryShows(pod *corev1.Pod, name string) (bool, string, error) {
	if p := pending(pod, pod.Generation); p != nil {
		if p.Reason == corev1.PodReasonInfeasible {
			return false, "", fmt.Errorf("the kubelet refuses to resize pod %s: %s: %w", ref(pod), describe(p), errStuck)
		}
		return false, describe(p), nil
	}
	box, ok := container(pod, name)
	s := statusOf(pod, name)
	switch {
	case !ok || s == nil || s.Resources == nil:
		return false, "the kubelet reports no resources", nil
	case s.Resources.Limits.Memory().Cmp(*box.Resources.Limits.Memory()) != 0:
		return false, "the kubelet reports a memory limit of " + s.Resources.Limits.Memory().String(), nil
	}
	return true, "", nil
}

// bytesOf is the API's own text of an amount of memory: "512Mi".
func bytesOf(n int64) string { return resource.NewQuantity(n, resource.BinarySI).String() }
