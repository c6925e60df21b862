package kubernetes_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kmend/kmend/incident"
)

func (s *stage) image(deployment string) string {
	d, err := s.admin.AppsV1().Deployments(s.namespace).Get(s.Context(), deployment, metav1.GetOptions{})
	s.must(err)
	return strings.TrimPrefix(d.Spec.Template.Spec.Containers[0].Image, "registry.test/")
}

func TestRolloutRestart(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.deployment("web", "app:1", 2)
	target := s.podOf("web")
	a := s.acting(s.as(""), "kubernetes.rollout_restart")
	with := map[string]any{"timeout": "30s"}
	step := s.planned(a, target, with)
	done, err := a.Apply(t.Context(), target, step)
	s.must(err)
	s.is("result", done.Result+done.State["event"], "applied")
	if s.exists(target.Pod) {
		t.Error("Apply came back before the pod was replaced")
	}
	again, err := a.Apply(t.Context(), target, step)
	s.must(err)
	s.is("result of a second Apply", again.Result, "already applied")
	_, err = a.Undo(t.Context(), target, step, done)
	s.refusal(err, "cannot be undone")

	target = s.podOf("web")
	s.missesEachRight(a.Name(), target, with)
	step = s.planned(a, target, with)
	s.merge("apps/v1/deployments", "web", `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"just now"}}}}}`)
	_, err = a.Apply(t.Context(), target, step)
	s.refusal(err, "somebody changed it since")
	s.merge("apps/v1/deployments", "web", `{"spec":{"paused":true}}`)
	_, err = a.Preview(t.Context(), s.podOf("web"), with)
	s.refusal(err, "paused")
}

// No controller of DaemonSets runs here; test/cluster rolls one out. The plan needs none.
func TestPlanForADaemonSet(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	_, err := s.admin.AppsV1().DaemonSets(s.namespace).Create(t.Context(), &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "log"},
		Spec: appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "log"}}, Template: template("log", "app:1")}}, metav1.CreateOptions{})
	s.must(err)
	const name = "kubernetes.rollout_restart"
	target, with := incident.Target{Namespace: s.namespace}, map[string]any{"kind": "DaemonSet", "name": "log"}
	step := s.planned(s.acting(s.as(""), name), target, with)
	s.is("summary", step.Preview.Summary, "restart all pods of DaemonSet "+s.namespace+"/log by its rollout strategy")
	s.missesEachRight(name, target, with)
}

// A StatefulSet, whose pods are replaced one after the other.
func TestStatefulSet(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	set := s.statefulSet("db", 2)
	target := s.podOf("db")
	uid := target.PodUID
	a := s.acting(s.as(""), "kubernetes.rollout_restart")
	_, err := a.Apply(t.Context(), target, s.planned(a, target, map[string]any{"timeout": "30s"}))
	s.must(err)
	if s.podOf("db").PodUID == uid || set().Status.ReadyReplicas != 2 {
		t.Error("Apply came back before the pods were replaced")
	}
	// Another pod with the name of the one in the plan is not evicted.
	target = s.podOf("db")
	e := s.acting(s.as(""), "kubernetes.evict_pod")
	plan := s.planned(e, target, nil)
	s.must(s.admin.CoreV1().Pods(s.namespace).Delete(t.Context(), target.Pod, metav1.DeleteOptions{}))
	s.eventually("the pod is back", func() bool { return set().Status.ReadyReplicas == 2 && s.uid(target.Pod) != target.PodUID })
	now := s.uid(target.Pod)
	x, err := e.Apply(t.Context(), target, plan)
	s.must(err)
	s.is("result", x.Result, "already applied")
	s.is("uid of the pod", s.uid(target.Pod), now)

	target = s.podOf("db")
	b := s.acting(s.as(""), "kubernetes.scale")
	step := s.planned(b, target, map[string]any{"factor": 1.5, "max": 9})
	done, err := b.Apply(t.Context(), target, step)
	s.must(err)
	s.is("ready", s.at("apps/v1/statefulsets", "db", "status", "readyReplicas"), "3")
	_, err = b.Undo(t.Context(), target, step, done)
	s.must(err)
	s.is("ready after Undo", s.at("apps/v1/statefulsets", "db", "status", "readyReplicas"), "2")
	_, err = s.acting(s.as(""), "kubernetes.leave_service").Preview(t.Context(), target, nil)
	s.refusal(err, "no Service sends anything")
	s.service("db")
	_, err = s.acting(s.as(""), "kubernetes.leave_service").Preview(t.Context(), target, nil)
	s.refusal(err, "would not replace it")
}

// statefulSet creates one of n pods, waits until they are ready, and reads it.
func (s *stage) statefulSet(name string, n int32) func() *appsv1.StatefulSet {
	s.Helper()
	_, err := s.admin.AppsV1().StatefulSets(s.namespace).Create(s.Context(), &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.StatefulSetSpec{Replicas: &n, ServiceName: name, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}, Template: template(name, "app:1")}}, metav1.CreateOptions{})
	s.must(err)
	set := func() *appsv1.StatefulSet {
		o, err := s.admin.AppsV1().StatefulSets(s.namespace).Get(s.Context(), name, metav1.GetOptions{})
		s.must(err)
		return o
	}
	s.eventually("the pods of "+name+" are ready", func() bool { return set().Status.ReadyReplicas == n })
	return set
}

// A template may have passwords in its environment: neither the plan nor what
// was done has it, and the cluster's own record of it is what is written. When
// that is gone, nothing is.
func TestRolloutUndo(t *testing.T) {
	const name = "kubernetes.rollout_undo"
	for _, c := range []struct {
		kind, api, records string
		create             func(s *stage)
	}{
		{"Deployment", "apps/v1/deployments", "apps/v1/replicasets", func(s *stage) { s.deployment("web", "app:1", 1) }},
		{"StatefulSet", "apps/v1/statefulsets", "apps/v1/controllerrevisions", func(s *stage) { s.statefulSet("web", 1) }},
	} {
		t.Run(c.kind, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			c.create(s)
			env := func() string {
				boxes, _, err := unstructured.NestedSlice(s.get(c.api, "web").Object, "spec", "template", "spec", "containers")
				s.must(err)
				m, _ := boxes[0].(map[string]any)
				return fmt.Sprint(m["image"], m["env"])
			}
			old := env()
			b := box("app:2")
			b.Env = []corev1.EnvVar{{Name: "PASSWORD", Value: "hunter2"}}
			text, err := json.Marshal([]corev1.Container{b})
			s.must(err)
			s.merge(c.api, "web", `{"spec":{"template":{"spec":{"containers":`+string(text)+`}}}}`)
			now := env()
			with := map[string]any{"kind": c.kind, "name": "web", "timeout": "30s"}
			target := incident.Target{Namespace: s.namespace}
			a := s.acting(s.as(""), name)
			s.eventually("the controller has recorded the template", func() bool { _, err := a.Preview(t.Context(), target, with); return err == nil })
			step := s.planned(a, target, with)
			if !strings.Contains(step.Preview.Summary, "from revision 2 to 1 (registry.test/app:1)") {
				t.Errorf("the plan is %q", step.Preview.Summary)
			}
			done, err := a.Apply(t.Context(), target, step)
			s.must(err)
			s.is("template", env(), old)
			stored, err := json.Marshal([]any{step, done})
			s.must(err)
			if strings.Contains(string(stored), "hunter2") || strings.Contains(string(stored), `"containers"`) {
				t.Errorf("the template is stored: %s", stored)
			}
			undone, err := a.Undo(t.Context(), target, step, done)
			s.must(err)
			s.is("result", undone.Result, "undone")
			s.is("template after Undo", env(), now)
			s.missesEachRight(name, target, with)

			step = s.planned(a, target, with)
			s.forget(c.records, "app:1", "")
			x, err := a.Apply(t.Context(), target, step)
			s.refusal(err, "the template of that revision is gone")
			s.is("result", x.Result, "")
			s.is("template", env(), now)
			_, err = a.Preview(t.Context(), target, with)
			s.refusal(err, "has no revision before")

			s.merge(c.api, "web", `{"spec":{"template":{"metadata":{"labels":{"third":"yes"}}}}}`)
			s.eventually("there is a third revision", func() bool { _, err := a.Preview(t.Context(), target, with); return err == nil })
			step = s.planned(a, target, with)
			done, err = a.Apply(t.Context(), target, step)
			s.must(err)
			s.forget(c.records, `"third":"yes"`, `"third":"no"`)
			_, err = a.Undo(t.Context(), target, step, done)
			s.refusal(err, "the template of that revision is gone")
			s.is("template", env(), now)
		})
	}
}

// forget deletes the record of the template with this text; another, with the
// text instead, gets its name.
func (s *stage) forget(api, text, instead string) {
	s.Helper()
	parts := strings.Split(api, "/")
	records := s.dyn.Resource(schema.GroupVersionResource{Group: parts[0], Version: parts[1], Resource: parts[2]}).Namespace(s.namespace)
	l, err := records.List(s.Context(), metav1.ListOptions{})
	s.must(err)
	n := 0
	for _, o := range l.Items {
		b, err := json.Marshal([]any{o.Object["spec"], o.Object["data"]})
		s.must(err)
		if strings.Contains(string(b), text) {
			n++
			s.must(records.Delete(s.Context(), o.GetName(), metav1.DeleteOptions{}))
			if instead == "" {
				continue
			}
			o.SetUID("")
			o.SetResourceVersion("")
			b, err := o.MarshalJSON()
			s.must(err)
			s.must(o.UnmarshalJSON([]byte(strings.ReplaceAll(string(b), text, instead))))
			_, err = records.Create(s.Context(), &o, metav1.CreateOptions{})
			s.must(err)
		}
	}
	if n != 1 {
		s.Errorf("%d records have %s, want 1", n, text)
	}
}

// uid of a pod, "" while there is none.
func (s *stage) uid(name string) string {
	p, err := s.admin.CoreV1().Pods(s.namespace).Get(s.Context(), name, metav1.GetOptions{})
	if err != nil {
		return ""
	}
	return string(p.UID)
}

// A rollout whose new pods never become ready is put back.
func TestRolloutThatDoesNotComeUp(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.deployment("web", "app:1", 1)
	s.rollTo("web", "app:stuck")
	s.rollTo("web", "app:2")
	target := s.podOf("web")
	a := s.acting(cluster(t), "kubernetes.rollout_undo")
	step := s.planned(a, target, map[string]any{"timeout": "2s"})
	if !strings.Contains(step.Preview.Summary, "from revision 3 to 2 (registry.test/app:stuck)") {
		t.Errorf("the plan is %q", step.Preview.Summary)
	}
	x, err := a.Apply(t.Context(), target, step)
	s.refusal(err, "the cluster does not show the change after 2s")
	s.refusal(err, "it was put back")
	s.is("result", x.Result, "")
	s.is("image", s.image("web"), "app:2")
	s.happened("Deployment", "PutBack", 1)
}

// The limit of the pod now, and that of the template, so that it lasts.
func TestResizeOfTheTemplate(t *testing.T) {
	for _, c := range []struct {
		action, was, to string
		adds            string
		with            map[string]any
		limit           func(corev1.ResourceList) string
	}{
		{"kubernetes.resize_memory", "128Mi", "200Mi", fmt.Sprint(map[string]float64{"memory": 72 << 20}), map[string]any{"max": "200Mi", "template": true, "timeout": "30s"}, func(l corev1.ResourceList) string { return l.Memory().String() }},
		{"kubernetes.resize_cpu", "200m", "350m", "map[cpu:0.15]", map[string]any{"max": "350m", "template": true}, func(l corev1.ResourceList) string { return l.Cpu().String() }},
	} {
		t.Run(c.action, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.deployment("web", "app:1", 2)
			target := s.podOf("web")
			limit := func() string {
				d, err := s.admin.AppsV1().Deployments(s.namespace).Get(t.Context(), "web", metav1.GetOptions{})
				s.must(err)
				return c.limit(d.Spec.Template.Spec.Containers[0].Resources.Limits)
			}
			a := s.acting(s.as(""), c.action)
			step := s.planned(a, target, c.with)
			s.is("template after the preview", limit(), c.was)
			if !strings.Contains(step.Preview.Summary, "which begins a rollout") || strings.Contains(step.Preview.Summary, "lasts as long") {
				t.Errorf("the plan is %q", step.Preview.Summary)
			}
			s.is("what the node gives", fmt.Sprint(step.Preview.Adds), c.adds)
			done, err := a.Apply(t.Context(), target, step)
			s.must(err)
			s.is("result", done.Result, "applied")
			s.is("template", limit(), c.to)
			if s.exists(target.Pod) {
				t.Error("Apply came back before the pods were replaced")
			}
			s.is("pod of the rollout", c.limit(s.world.get(s.podOf("web").Pod).Spec.Containers[0].Resources.Limits), c.to)
			again, err := a.Apply(t.Context(), target, step) // its pod is gone
			s.must(err)
			s.is("result of a second Apply", again.Result, "already applied")
			undone, err := a.Undo(t.Context(), target, step, again)
			s.must(err)
			s.is("result", undone.Result, "undone")
			s.is("template after Undo", limit(), c.was)
			s.misses("patch apps/deployments", a.Name(), s.podOf("web"), c.with)

			target = s.podOf("web")
			step = s.planned(a, target, c.with)
			s.merge("apps/v1/deployments", "web", `{"spec":{"paused":true,"template":{"spec":{"containers":`+s.boxed("300Mi", "300m")+`}}}}`)
			_, err = a.Apply(t.Context(), target, step)
			s.refusal(err, "somebody changed it since")
			s.refusal(err, "put back")
			s.is("limit of the pod", c.limit(s.world.get(target.Pod).Spec.Containers[0].Resources.Limits), c.was)
		})
	}
}

// boxed are the containers of a template with other limits.
func (s *stage) boxed(memory, cpu string) string {
	c := box("app:1")
	c.Resources.Limits = list(cpu, memory)
	b, err := json.Marshal([]corev1.Container{c})
	s.must(err)
	return string(b)
}

// The kubelet says that it will never do it: the resize is put back at once.
func TestMemoryThatIsInfeasible(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "4")
	w.pod("web", []corev1.Container{box("app:1")})
	w.kubelet("web", refused(corev1.PodReasonInfeasible, "too much"))
	a := w.acting(cluster(t), "kubernetes.resize_memory")
	target := w.target("web")
	step := w.planned(a, target, map[string]any{"max": "1Gi", "factor": 3})
	x, err := a.Apply(t.Context(), target, step)
	w.refusal(err, "the kubelet refuses to resize pod "+w.namespace+"/web: PodResizePending: Infeasible: too much")
	w.refusal(err, "it was put back")
	w.is("result", x.Result, "")
	w.is("memory", w.get("web").Spec.Containers[0].Resources.Limits.Memory().String(), "128Mi")
}

// What a plan is refused for, before anybody is asked.
func TestPlansThatAreRefused(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.deployment("web", "app:1", 1)
	s.service("web")
	s.deployment("scaled", "app:1", 1)
	_, err := s.admin.AutoscalingV2().HorizontalPodAutoscalers(s.namespace).Create(t.Context(), &autoscaling.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: "auto"},
		Spec: autoscaling.HorizontalPodAutoscalerSpec{MaxReplicas: 3, ScaleTargetRef: autoscaling.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "scaled"}}}, metav1.CreateOptions{})
	s.must(err)
	yes := true
	_, err = s.admin.CoreV1().ConfigMaps(s.namespace).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "fixed"}, Immutable: &yes, Data: map[string]string{"a": "b"}}, metav1.CreateOptions{})
	s.must(err)
	target := s.podOf("web")
	for _, c := range []struct {
		action string
		with   map[string]any
		want   string
	}{
		{"leave_service", nil, "would leave nobody to answer"},
		{"point_service", map[string]any{"name": "web", "selector": map[string]any{"app": "nobody"}}, "nobody would answer"},
		{"point_service", map[string]any{"name": "web", "selector": map[string]any{"app": "web"}}, "points at app=web already"},
		{"point_service", map[string]any{"name": "web", "selector": map[string]any{"app": "not ok!"}}, "with.selector"},
		{"scale", map[string]any{"kind": "Deployment", "name": "scaled", "by": 1, "max": 3}, "scaled by HorizontalPodAutoscaler auto"},
		{"scale", map[string]any{"by": 1, "max": 1}, "nothing to raise: there are 1 and with.max is 1"},
		{"scale", map[string]any{"by": 1, "factor": 2, "max": 3}, "give one of with.by and with.factor"},
		{"scale", map[string]any{"kind": "DaemonSet", "name": "x", "by": 1, "max": 3}, `"x" not found`},
		{"scale", map[string]any{"name": "scaled", "by": 1, "max": 3}, "name a workload together"},
		{"raise_hpa_max", map[string]any{"max": 9}, "has 0 HorizontalPodAutoscalers"},
		{"raise_hpa_max", map[string]any{"kind": "Deployment", "name": "scaled", "max": 3}, "nothing to raise: there are 3"},
		{"rollout_undo", nil, "has no revision before 1"},
		{"rollout_restart", map[string]any{"timeout": "2h"}, "with.timeout: 2h0m0s is out of bounds"},
		{"uncordon_node", nil, "is schedulable already"},
		{"taint_node", map[string]any{"key": "node.kubernetes.io/unreachable"}, "belongs to Kubernetes"},
		{"taint_node", map[string]any{"key": "a", "effect": "NoExecute"}, `"NoExecute" is not allowed`},
		{"label", map[string]any{"object": "pod", "key": "app", "value": "x"}, "use kubernetes.leave_service"},
		{"label", map[string]any{"object": "pod", "key": "pod-template-hash", "value": "x"}, "belongs to Kubernetes"},
		{"set_config", map[string]any{"name": "fixed", "key": "a", "value": "c"}, "is immutable"},
		{"set_config", map[string]any{"name": "fixed", "key": "b", "value": "c"}, "is immutable"},
		{"set_config", map[string]any{"namespace": "kube-system", "name": "coredns", "key": "Corefile", "value": "x"}, "belongs to the cluster itself"},
		{"set_config", map[string]any{"namespace": "kmend-own", "name": "kmend-policies", "key": "policy.yaml", "value": "x"}, "is in kmend's own namespace"},
		{"resize_memory", map[string]any{"max": "100Mi"}, "nothing to raise"},
		{"resize_memory", map[string]any{"max": "lots"}, "is no amount of memory"},
		{"evict_pod", map[string]any{"timeout": "0.5s"}, "with.timeout: 500ms is out of bounds"},
		{"run_job", map[string]any{"cronJob": "none"}, `"none" not found`},
	} {
		t.Run(c.action+" "+c.want, func(t *testing.T) {
			_, err := s.acting(cluster(t), "kubernetes."+c.action).Preview(t.Context(), target, c.with)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	other := target
	other.PodUID = "another"
	_, err = s.acting(cluster(t), "kubernetes.cordon_node").Preview(t.Context(), other, nil)
	s.refusal(err, "was replaced since it was measured")
}

// The last other pod goes between the plan and the act.
func TestLeaveServiceAsksAgain(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.deployment("web", "app:1", 2)
	s.service("web")
	s.eventually("both are endpoints", func() bool { return strings.Contains(s.endpoints("web"), " ") })
	target := s.podOf("web")
	a := s.acting(cluster(t), "kubernetes.leave_service")
	step := s.planned(a, target, nil)
	s.merge("core/v1/pods", target.Pod, `{"metadata":{"annotations":{"controller.kubernetes.io/pod-deletion-cost":"100"}}}`) // the other one goes
	s.merge("apps/v1/deployments", "web", `{"spec":{"replicas":1}}`)
	s.eventually("one endpoint is left", func() bool { e := s.endpoints("web"); return e != "" && !strings.Contains(e, " ") })
	_, err := a.Apply(t.Context(), target, step)
	s.refusal(err, "would leave nobody to answer")
	s.is("endpoints", s.endpoints("web"), target.Pod)
}
