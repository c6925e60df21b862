package kubernetes

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/kmend/kmend/remediate/action"
)

func TestRaise(t *testing.T) {
	node, empty := room{allocatable: 4000, free: 1000}, room{allocatable: 4000, free: 4000}
	cases := []struct {
		name       string
		now        cpu
		guaranteed bool
		factor     float64
		max        action.CPUs
		node       room
		want       cpu
		bound, err string
	}{
		{name: "by the factor, the request stays", now: cpu{200, 100}, factor: 2, max: 4000, node: node, want: cpu{400, 100}},
		{name: "rounded down", now: cpu{333, 0}, factor: 1.5, max: 4000, node: node, want: cpu{499, 0}},
		{name: "not lost to binary fractions", now: cpu{1000, 0}, factor: 1.1, max: 4000, node: empty, want: cpu{1100, 0}},
		{name: "cut by max", now: cpu{1500, 100}, factor: 2, max: 2000, node: empty, want: cpu{2000, 100}, bound: "the runbook's max is 2 CPU"},
		{name: "cut by the node", now: cpu{3000, 1000}, factor: 2, max: 16000, node: room{4000, 3000}, want: cpu{4000, 1000}, bound: "the node has 4 CPU for pods"},
		{name: "cut by what is free", now: cpu{800, 100}, factor: 2, max: 4000, node: node, want: cpu{1100, 100}, bound: "the node has 1 CPU left over the 0.1 CPU that the container requests"},
		{name: "all that is free", now: cpu{550, 100}, factor: 2, max: 4000, node: node, want: cpu{1100, 100}},
		{name: "nothing requested", now: cpu{800, 0}, factor: 2, max: 4000, node: node, want: cpu{1000, 0}, bound: "the node has 1 CPU left over the 0 CPU"},
		{name: "a full node", now: cpu{200, 100}, factor: 2, max: 4000, node: room{4000, 0}, err: "nothing to raise: the limit is 0.2 CPU and the node has 0 CPU left over the 0.1 CPU that the container requests"},
		{name: "a full node, the limit is the request", now: cpu{200, 200}, factor: 2, max: 4000, node: room{4000, 0}, err: "the node has 0 CPU left"},
		{name: "a node that shrank", now: cpu{200, 100}, factor: 2, max: 4000, node: room{4000, -500}, err: "the node has -0.5 CPU left"},
		{name: "a limit over what is free is not lowered", now: cpu{2000, 100}, factor: 2, max: 4000, node: node, err: "nothing to raise: the limit is 2 CPU and the node has 1 CPU left"},
		{name: "guaranteed takes what is free", now: cpu{500, 500}, guaranteed: true, factor: 2, max: 4000, node: node, want: cpu{1000, 1000}},
		{name: "guaranteed cut by what is free", now: cpu{500, 500}, guaranteed: true, factor: 4, max: 4000, node: node, want: cpu{1500, 1500}, bound: "the node has 1 CPU left"},
		{name: "guaranteed on a full node", now: cpu{500, 500}, guaranteed: true, factor: 2, max: 4000, node: room{4000, 0}, err: "nothing to raise: the limit is 0.5 CPU and the pod is Guaranteed"},
		{name: "guaranteed on a node that shrank", now: cpu{500, 500}, guaranteed: true, factor: 2, max: 4000, node: room{4000, -900}, err: "the node has -0.9 CPU left"},
		{name: "at max", now: cpu{2000, 0}, factor: 2, max: 2000, node: empty, err: "nothing to raise: the limit is 2 CPU and the runbook's max is 2 CPU"},
		{name: "the node is unknown", now: cpu{200, 0}, factor: 2, max: 2000, err: "the node has 0 CPU for pods"},
		{name: "too small a factor", now: cpu{1, 0}, factor: 1.5, max: 2000, node: node, err: "1.5 times that is no more"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, bound, err := raise(c.now, c.guaranteed, c.factor, c.max, c.node)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil || got != c.want || !strings.Contains(bound, c.bound) || (c.bound == "") != (bound == "") {
				t.Errorf("got %v %q %v, want %v %q", got, bound, err, c.want, c.bound)
			}
		})
	}
}

func TestRaiseStaysInBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := cpu{limit: rapid.Int64Range(1, 64_000).Draw(t, "limit")}
		guaranteed := rapid.Bool().Draw(t, "guaranteed")
		now.request = rapid.Int64Range(0, now.limit).Draw(t, "request")
		if guaranteed {
			now.request = now.limit
		}
		most := action.CPUs(rapid.Int64Range(1, 64_000).Draw(t, "max"))
		node := room{allocatable: rapid.Int64Range(0, 64_000).Draw(t, "allocatable")}
		node.free = rapid.Int64Range(-1000, node.allocatable).Draw(t, "free")
		factor := rapid.Float64Range(1.001, 10).Draw(t, "factor")
		got, _, err := raise(now, guaranteed, factor, most, node)
		switch {
		case err != nil:
		case got.limit <= now.limit, got.limit > most.Milli(), got.limit > node.allocatable, got.limit > now.request+node.free, float64(got.limit) > float64(now.limit)*factor+0.001:
			t.Fatalf("%v is out of bounds", got)
		case guaranteed && got.request != got.limit:
			t.Fatalf("%v is not Guaranteed", got)
		case !guaranteed && got.request != now.request:
			t.Fatalf("%v moves a request that need not move", got)
		}
	})
}

// TestRoom: what counts of a node's pods.
func TestRoom(t *testing.T) {
	node := &corev1.Node{Status: corev1.NodeStatus{Allocatable: resources("4", "")}}
	plain := *running(limits("500m", "500m"))
	ended := plain
	ended.Status.Phase = corev1.PodFailed
	// Lowered in the spec, but the kubelet still has the old one allocated.
	shrinking := *running(limits("100m", "100m"))
	shrinking.Status.ContainerStatuses[0].AllocatedResources = resources("900m", "")
	sidecar := *running(limits("100m", "100m"))
	always := corev1.ContainerRestartPolicyAlways
	sidecar.Spec.InitContainers = []corev1.Container{{Name: "mesh", RestartPolicy: &always, Resources: limits("200m", "200m")}}
	got := roomOn(node, []corev1.Pod{plain, ended, shrinking, sidecar})
	if want := (room{4000, 4000 - 500 - 900 - 300}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestQOS(t *testing.T) {
	both := func(cpu, memory string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Requests: resources(cpu, memory), Limits: resources(cpu, memory)}
	}
	for name, c := range map[string]struct {
		containers []corev1.ResourceRequirements
		want       corev1.PodQOSClass
	}{
		"nothing":              {[]corev1.ResourceRequirements{{}}, corev1.PodQOSBestEffort},
		"zero is nothing":      {[]corev1.ResourceRequirements{limits("0", "0")}, corev1.PodQOSBestEffort},
		"all equal":            {[]corev1.ResourceRequirements{both("1", "1Gi"), both("1000m", "1Gi")}, corev1.PodQOSGuaranteed},
		"no memory":            {[]corev1.ResourceRequirements{limits("1", "1")}, corev1.PodQOSBurstable},
		"request below":        {[]corev1.ResourceRequirements{{Requests: resources("1", "1Gi"), Limits: resources("2", "1Gi")}}, corev1.PodQOSBurstable},
		"one without anything": {[]corev1.ResourceRequirements{both("1", "1Gi"), {}}, corev1.PodQOSBurstable},
		"one without limits":   {[]corev1.ResourceRequirements{both("1", "1Gi"), {Requests: resources("1", "")}}, corev1.PodQOSBurstable},
	} {
		var spec corev1.PodSpec
		for _, r := range c.containers {
			spec.Containers = append(spec.Containers, corev1.Container{Resources: r})
		}
		if got := qos(spec); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestPick(t *testing.T) {
	limited, free := corev1.Container{Name: "app", Resources: limits("1", "1")}, corev1.Container{Name: "sidecar"}
	second := corev1.Container{Name: "other", Resources: limits("1", "1")}
	for name, c := range map[string]struct {
		containers []corev1.Container
		container  string
		want, err  string
	}{
		"named":         {[]corev1.Container{limited, second}, "other", "other", ""},
		"the only one":  {[]corev1.Container{free, limited}, "", "app", ""},
		"two":           {[]corev1.Container{limited, second}, "", "", "has 2 containers with a CPU limit (app, other) and the alert names none of them"},
		"none":          {[]corev1.Container{free}, "", "", "no container of pod ns/web has a CPU limit"},
		"unknown":       {[]corev1.Container{limited, free}, "x", "", `has no container "x" (init and ephemeral containers are not resized); it has: app, sidecar`},
		"without limit": {[]corev1.Container{limited, free}, "sidecar", "", "container sidecar of pod ns/web has no CPU limit"},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web"}, Spec: corev1.PodSpec{Containers: c.containers}}
		got, err := pick(pod, c.container)
		if c.err == "" && (err != nil || got.Name != c.want) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %q, %v", name, got.Name, err)
		}
	}
}

func TestResizable(t *testing.T) {
	for want, change := range map[string]func(*corev1.Pod){
		"":                 func(*corev1.Pod) {},
		"is being deleted": func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} },
		"is on no node":    func(p *corev1.Pod) { p.Spec.NodeName = "" },
		"is Pending, not Running": func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodPending
		},
		"is a static pod":              func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} },
		"resources for the whole pod":  func(p *corev1.Pod) { r := limits("2", "1"); p.Spec.Resources = &r },
		"is not running":               func(p *corev1.Pod) { p.Status.ContainerStatuses[0].State = corev1.ContainerState{} },
		"but runs with 0.3 CPU":        func(p *corev1.Pod) { r := limits("300m", ""); p.Status.ContainerStatuses[0].Resources = &r },
		"a resize that is not finish":  func(p *corev1.Pod) { p.Status.Conditions = condition(corev1.PodResizeInProgress, "", 0) },
		"restarts when its CPU is res": func(p *corev1.Pod) { p.Spec.Containers[0].ResizePolicy = restartOn(corev1.ResourceCPU) },
	} {
		pod := running(limits("1", "1"))
		change(pod)
		err := resizable(pod, pod.Spec.Containers[0], false)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v", want, err)
		}
	}
	pod := running(limits("1", "1"))
	pod.Spec.Containers[0].ResizePolicy = restartOn(corev1.ResourceCPU)
	if err := resizable(pod, pod.Spec.Containers[0], true); err != nil {
		t.Errorf("with allowRestart: %v", err)
	}
	pod.Spec.Containers[0].ResizePolicy = restartOn(corev1.ResourceMemory)
	if err := resizable(pod, pod.Spec.Containers[0], false); err != nil {
		t.Errorf("a policy for memory: %v", err)
	}
}

func TestLook(t *testing.T) {
	wanted := cpu{2000, 1000}
	at := func(limit, request string, cs []corev1.PodCondition) *corev1.Pod {
		p := running(limits("2", "1"))
		r := limits(limit, request)
		p.Status.ContainerStatuses[0].Resources, p.Status.Conditions = &r, cs
		return p
	}
	for name, c := range map[string]struct {
		pod  *corev1.Pod
		want progress
		why  string
	}{
		"not begun":          {at("1", "1", nil), waiting, "the kubelet reports limit 1 CPU, request 1 CPU"},
		"done":               {at("2", "1", nil), done, ""},
		"done, rounded":      {at("2", "1001m", nil), done, ""},
		"request on its way": {at("2", "500m", condition(corev1.PodResizeInProgress, "", 7)), waiting, "PodResizeInProgress"},
		"in progress":        {at("1", "1", condition(corev1.PodResizeInProgress, "", 7)), waiting, "PodResizeInProgress"},
		"error":              {at("1", "1", condition(corev1.PodResizeInProgress, "Error", 7)), waiting, "PodResizeInProgress: Error: message"},
		"deferred":           {at("1", "1", condition(corev1.PodResizePending, "Deferred", 7)), waiting, "PodResizePending: Deferred: message"},
		"infeasible":         {at("1", "1", condition(corev1.PodResizePending, "Infeasible", 8)), infeasible, "PodResizePending: Infeasible: message"},
		"of an older spec":   {at("1", "1", condition(corev1.PodResizePending, "Infeasible", 6)), waiting, "the kubelet reports limit 1 CPU"},
		"old kubelet":        {at("1", "1", condition(corev1.PodResizePending, "Infeasible", 0)), infeasible, "PodResizePending: Infeasible"},
		"no status":          {&corev1.Pod{}, waiting, "the kubelet reports no resources"},
	} {
		got, why := look(c.pod, "app", wanted, 7)
		if got != c.want || !strings.HasPrefix(why, c.why) || (c.why == "") != (why == "") {
			t.Errorf("%s: %d %q, want %d %q", name, got, why, c.want, c.why)
		}
	}
}

func TestAccept(t *testing.T) {
	now, wanted := cpu{1000, 500}, cpu{2000, 500}
	for name, c := range map[string]struct {
		limit, request string
		class          corev1.PodQOSClass
		want           cpu
		err            string
	}{
		"as asked":        {"2", "500m", corev1.PodQOSBurstable, wanted, ""},
		"lowered":         {"1500m", "500m", corev1.PodQOSBurstable, cpu{1500, 500}, ""},
		"nothing left":    {"1", "500m", corev1.PodQOSBurstable, cpu{}, "an admission webhook changes it"},
		"more than asked": {"3", "500m", corev1.PodQOSBurstable, cpu{}, "would store limit 3 CPU, request 0.5 CPU instead of limit 2 CPU, request 0.5 CPU"},
		"request raised":  {"2", "1", corev1.PodQOSBurstable, cpu{}, "an admission webhook changes it"},
		"other class":     {"2", "500m", corev1.PodQOSGuaranteed, cpu{}, "would change the pod's QoS class from Guaranteed to Burstable"},
	} {
		got, err := (&ResizeCPU{}).accept(running(limits(c.limit, c.request)), "app", now, wanted, c.class)
		if c.err == "" && (err != nil || got != c.want) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestEncode(t *testing.T) {
	r := resize{namespace: "ns", pod: "web", uid: "u", container: "app", plan: "12", generation: 7, from: cpu{200, 100}, to: cpu{400, 100}, allowRestart: true}
	if got, err := decode(r.encode()); err != nil || got != r {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, key := range []string{"namespace", "pod", "uid", "container", "limit_m", "was_limit_m"} {
		m := r.encode()
		delete(m, key)
		if got, err := decode(m); err == nil {
			t.Errorf("without %s: %+v", key, got)
		}
	}
}

func TestOptions(t *testing.T) {
	if _, err := NewResizeCPU(nil, Options{}); err == nil {
		t.Error("no client was accepted")
	}
	for want, o := range map[string]Options{
		"Wait is 1ms, must be 1s to 10m":               {Wait: time.Millisecond},
		"Poll is 1ns, must be 10ms to 10s":             {Poll: 1},
		"FieldManager has 129 characters, must be at ": {FieldManager: strings.Repeat("x", 129)},
	} {
		if _, err := o.withDefaults(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func resources(cpu, memory string) corev1.ResourceList {
	l := corev1.ResourceList{}
	if cpu != "" {
		l[corev1.ResourceCPU] = resource.MustParse(cpu)
	}
	if memory != "" {
		l[corev1.ResourceMemory] = resource.MustParse(memory)
	}
	return l
}

// limits has a CPU limit and a CPU request.
func limits(limit, request string) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Limits: resources(limit, ""), Requests: resources(request, "")}
}

// running is a pod whose container app runs with r, at generation 7.
func running(r corev1.ResourceRequirements) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", Generation: 7},
		Spec:       corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "app", Resources: r}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
			Name: "app", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, Resources: r.DeepCopy(), AllocatedResources: r.Requests,
		}}},
	}
}

func condition(kind corev1.PodConditionType, reason string, generation int64) []corev1.PodCondition {
	c := corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, Reason: reason, ObservedGeneration: generation}
	if reason != "" {
		c.Message = "message"
	}
	return []corev1.PodCondition{c}
}

func restartOn(name corev1.ResourceName) []corev1.ContainerResizePolicy {
	return []corev1.ContainerResizePolicy{{ResourceName: name, RestartPolicy: corev1.RestartContainer}}
}
