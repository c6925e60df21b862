package kubernetes_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	autoscaling "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kmend/kmend/incident"
)

// A scene is an action on a real API server and real controllers: what it is
// given, what it changes, what somebody else may change meanwhile.
type scene struct {
	name   string
	action string
	with   map[string]any
	// state is what the action changes, read by the administrator.
	state func(s *stage, t incident.Target) string
	want  string // the state after it
	back  string // the state after Undo; "": that of before
	// meddle is what somebody else does between the plan and the act; "" in changed: that is no matter.
	meddle  func(s *stage, t incident.Target)
	changed string // what Apply says then
	about   string // kind of the object with the event
}

func (s *stage) get(api, name string) *unstructured.Unstructured {
	s.Helper()
	parts := strings.Split(api, "/")
	r := schema.GroupVersionResource{Group: parts[0], Version: parts[1], Resource: parts[2]}
	if parts[0] == "core" {
		r.Group = ""
	}
	namespace := s.namespace
	if r.Resource == "nodes" {
		namespace = ""
	}
	o, err := s.dyn.Resource(r).Namespace(namespace).Get(s.Context(), name, metav1.GetOptions{})
	s.must(err)
	return o
}

// at is a field of an object as JSON.
func (s *stage) at(api, name string, path ...string) string {
	s.Helper()
	v, _, err := unstructured.NestedFieldNoCopy(s.get(api, name).Object, path...)
	s.must(err)
	b, err := json.Marshal(v)
	s.must(err)
	return string(b)
}

// merge is what somebody else does to an object.
func (s *stage) merge(api, name, patch string) {
	s.Helper()
	parts := strings.Split(api, "/")
	r := schema.GroupVersionResource{Group: strings.TrimPrefix(parts[0], "core"), Version: parts[1], Resource: parts[2]}
	namespace := s.namespace
	if r.Resource == "nodes" {
		namespace = ""
	}
	_, err := s.dyn.Resource(r).Namespace(namespace).Patch(s.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	s.must(err)
}

// scenes are previewed, applied, applied again, undone; refused when somebody
// else was there in between, and in the preview when a right is missing.
var scenes = []scene{
	{name: "cordon", action: "kubernetes.cordon_node", want: "true", about: "Node",
		state: func(s *stage, _ incident.Target) string {
			return s.at("core/v1/nodes", s.node, "spec", "unschedulable")
		},
		meddle: func(s *stage, _ incident.Target) { s.replaceNode() }, changed: "was replaced"},
	{name: "taint", action: "kubernetes.taint_node", with: map[string]any{"key": "example.test/slow", "value": "yes"}, about: "Node",
		state: func(s *stage, _ incident.Target) string {
			_, ours, _ := strings.Cut(s.at("core/v1/nodes", s.node, "spec", "taints"), "},") // the first is not-ready, Kubernetes' own
			return ours
		}, want: `{"effect":"NoSchedule","key":"example.test/slow","value":"yes"}]`,
		meddle: func(s *stage, _ incident.Target) {
			s.merge("core/v1/nodes", s.node, `{"spec":{"taints":[{"key":"node.kubernetes.io/not-ready","effect":"NoSchedule"},{"key":"example.test/slow","value":"no","effect":"NoSchedule"}]}}`)
		}, changed: "somebody changed it since"},
	{name: "label a pod", action: "kubernetes.label", with: map[string]any{"object": "pod", "key": "example.test/look", "value": "here"}, about: "Pod",
		state: func(s *stage, t incident.Target) string {
			return s.at("core/v1/pods", t.Pod, "metadata", "labels", "example.test/look")
		}, want: `"here"`,
		meddle: func(s *stage, t incident.Target) {
			s.merge("core/v1/pods", t.Pod, `{"metadata":{"labels":{"example.test/look":"away"}}}`)
		}, changed: "somebody changed it since"},
	{name: "label a workload", action: "kubernetes.label", with: map[string]any{"object": "workload", "key": "look", "value": "here"}, about: "Deployment",
		state: func(s *stage, _ incident.Target) string {
			return s.at("apps/v1/deployments", "web", "metadata", "labels", "look")
		}, want: `"here"`},
	{name: "scale", action: "kubernetes.scale", with: map[string]any{"by": 2, "max": 4}, about: "Deployment",
		state: func(s *stage, _ incident.Target) string {
			return s.at("apps/v1/deployments", "web", "spec", "replicas") + " " + s.at("apps/v1/deployments", "web", "status", "availableReplicas")
		}, want: "4 4",
		meddle:  func(s *stage, _ incident.Target) { s.merge("apps/v1/deployments", "web", `{"spec":{"replicas":3}}`) },
		changed: "somebody changed it since"},
	{name: "raise the autoscaler", action: "kubernetes.raise_hpa_max", with: map[string]any{"factor": 2, "max": 9, "kind": "Deployment", "name": "api"}, about: "HorizontalPodAutoscaler",
		state: func(s *stage, _ incident.Target) string {
			return s.at("autoscaling/v2/horizontalpodautoscalers", "api", "spec", "maxReplicas")
		}, want: "6",
		meddle: func(s *stage, _ incident.Target) {
			s.merge("autoscaling/v2/horizontalpodautoscalers", "api", `{"spec":{"maxReplicas":4}}`)
		}, changed: "somebody changed it since"},
	{name: "roll back", action: "kubernetes.rollout_undo", with: map[string]any{"kind": "Deployment", "name": "api", "timeout": "30s"}, about: "Deployment",
		state: func(s *stage, _ incident.Target) string {
			d := s.get("apps/v1/deployments", "api")
			c, _, _ := unstructured.NestedSlice(d.Object, "spec", "template", "spec", "containers")
			return fmt.Sprint(c[0].(map[string]any)["image"])
		}, want: "registry.test/app:1",
		meddle: func(s *stage, _ incident.Target) {
			s.merge("apps/v1/deployments", "api", `{"spec":{"template":{"metadata":{"annotations":{"a":"b"}}}}}`)
		}, changed: "somebody changed it since"},
	{name: "leave the Service", action: "kubernetes.leave_service", about: "Pod",
		state: func(s *stage, t incident.Target) string {
			return s.at("core/v1/pods", t.Pod, "metadata", "labels", "app") + fmt.Sprint(strings.Contains(s.endpoints("web"), t.Pod))
		}, want: `"kmend-took-it-out"false`, back: `"web"`},
	{name: "set a flag", action: "kubernetes.set_config", with: map[string]any{"name": "flags", "key": "model", "value": "small"}, about: "ConfigMap",
		state: func(s *stage, _ incident.Target) string { return s.at("core/v1/configmaps", "flags", "data") }, want: `{"model":"small","other":"1"}`,
		meddle: func(s *stage, _ incident.Target) {
			s.merge("core/v1/configmaps", "flags", `{"data":{"model":"medium"}}`)
		},
		changed: "somebody changed it since"},
	{name: "point a Service", action: "kubernetes.point_service", with: map[string]any{"name": "web", "selector": map[string]any{"app": "api"}}, about: "Service",
		state: func(s *stage, _ incident.Target) string {
			return s.at("core/v1/services", "web", "spec", "selector") + fmt.Sprint(strings.Contains(s.endpoints("web"), "api-"))
		}, want: `{"app":"api"}true`,
		meddle: func(s *stage, _ incident.Target) {
			s.merge("core/v1/services", "web", `{"spec":{"selector":{"tier":"front"}}}`)
		}, changed: "somebody changed it since"},
	{name: "resize memory and the template", action: "kubernetes.resize_memory", with: map[string]any{"max": "1Gi"}, about: "Pod",
		state: func(s *stage, t incident.Target) string {
			r := s.world.get(t.Pod).Spec.Containers[0].Resources
			return r.Limits.Memory().String() + " " + r.Requests.Memory().String()
		}, want: "256Mi 64Mi",
		meddle: func(s *stage, t incident.Target) {
			s.patch(t.Pod, `{"spec":{"containers":[{"name":"app","resources":{"limits":{"memory":"200Mi"}}}]}}`)
		}, changed: "somebody changed it since"},
	{name: "shift traffic", action: "kubernetes.shift_traffic", with: map[string]any{"name": "front", "weights": map[string]any{"stable": 100, "canary": 0}}, about: "HTTPRoute",
		state: func(s *stage, _ incident.Target) string {
			return s.at("gateway.networking.k8s.io/v1/httproutes", "front", "spec", "rules")
		}, want: `[{"backendRefs":[{"name":"stable","weight":100},{"name":"canary","weight":0}]},{"backendRefs":[{"name":"other","weight":1}]}]`,
		meddle: func(s *stage, _ incident.Target) {
			s.merge("gateway.networking.k8s.io/v1/httproutes", "front", `{"spec":{"rules":[{"backendRefs":[{"name":"stable","weight":50},{"name":"canary","weight":10}]}]}}`)
		}, changed: "somebody changed it since"},
}

func TestActions(t *testing.T) {
	for _, c := range scenes {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.furnish(c.action)
			s.play(c)
		})
	}
}

func (s *stage) play(c scene) {
	target := s.podOf("web")
	// Of two pods the ReplicaSet stops the other one when it has one too many.
	s.merge("core/v1/pods", target.Pod, `{"metadata":{"annotations":{"controller.kubernetes.io/pod-deletion-cost":"100"}}}`)
	a := s.acting(s.as(""), c.action)
	before := c.state(s, target)
	step := s.planned(a, target, c.with)
	s.is("state after the preview", c.state(s, target), before)

	done, err := a.Apply(s.Context(), target, step)
	s.must(err)
	s.is("result", done.Result, "applied")
	s.is("event", done.State["event"], "")
	s.is("state", c.state(s, target), c.want)
	again, err := a.Apply(s.Context(), target, step)
	s.must(err)
	s.is("result of a second Apply", again.Result, "already applied")
	s.happened(c.about, "Apply", 1)
	if _, err := a.Preview(s.Context(), target, c.with); err == nil && c.action != "kubernetes.scale" && c.action != "kubernetes.raise_hpa_max" &&
		c.action != "kubernetes.resize_memory" && c.action != "kubernetes.rollout_undo" {
		s.Error("a plan that changes nothing was made")
	}

	undone, err := a.Undo(s.Context(), target, step, again) // of what a crash had forgotten
	s.must(err)
	s.is("result", undone.Result, "undone")
	if c.back == "" {
		s.is("state after Undo", c.state(s, target), before)
	} else if now := c.state(s, target); !strings.HasPrefix(now, c.back) {
		s.Errorf("state after Undo is %s, want %s...", now, c.back)
	}
	s.happened(c.about, "Undo", 1)

	s.missesEachRight(c.action, target, c.with)
	if c.meddle == nil {
		return
	}
	step = s.planned(a, target, c.with)
	c.meddle(s, target)
	theirs := ""
	if c.action != "kubernetes.scale" { // its replicas settle
		theirs = c.state(s, target)
	}
	_, err = a.Apply(s.Context(), target, step)
	s.refusal(err, c.changed)
	if theirs != "" {
		s.is("what somebody else had set", c.state(s, target), theirs)
	}
	// Nor does Undo take away what somebody set since.
	if _, err = a.Undo(s.Context(), target, step, done); c.changed == "somebody changed it since" {
		s.refusal(err, c.changed)
	}
}

// happened counts kmend's events on objects of a kind.
func (s *stage) happened(kind, what string, want int) {
	s.Helper()
	namespace := s.namespace
	if kind == "Node" {
		namespace = "default"
	}
	l, err := s.admin.CoreV1().Events(namespace).List(s.Context(), metav1.ListOptions{})
	s.must(err)
	n := 0
	for _, e := range l.Items {
		if e.Reason == "KmendChanged" && e.InvolvedObject.Kind == kind && e.Action == what && (kind != "Node" || e.InvolvedObject.Name == s.node) {
			n++
		}
	}
	if n != want {
		s.Errorf("%d events %s on a %s, want %d", n, what, kind, want)
	}
}

// furnish makes what the scene's action acts on, and no more: machines are slow.
func (s *stage) furnish(action string) {
	s.Helper()
	s.deployment("web", "app:1", 2)
	core := s.admin.CoreV1()
	switch strings.TrimPrefix(action, "kubernetes.") {
	case "leave_service":
		s.service("web")
	case "point_service":
		s.service("web")
		s.deployment("api", "app:1", 1)
	case "raise_hpa_max":
		s.deployment("api", "app:1", 1)
		_, err := s.admin.AutoscalingV2().HorizontalPodAutoscalers(s.namespace).Create(s.Context(), &autoscaling.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: "api"},
			Spec: autoscaling.HorizontalPodAutoscalerSpec{MaxReplicas: 3, ScaleTargetRef: autoscaling.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "api"}}}, metav1.CreateOptions{})
		s.must(err)
	case "rollout_undo":
		s.deployment("api", "app:1", 1)
		s.rollTo("api", "app:2")
	case "set_config":
		_, err := core.ConfigMaps(s.namespace).Create(s.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "flags"},
			Data: map[string]string{"model": "large", "other": "1"}}, metav1.CreateOptions{})
		s.must(err)
	case "shift_traffic":
		s.route()
	}
}

// rollTo gives a Deployment another image and waits for the rollout.
func (s *stage) rollTo(name, image string) {
	s.Helper()
	d, err := s.admin.AppsV1().Deployments(s.namespace).Get(s.Context(), name, metav1.GetOptions{})
	s.must(err)
	c := d.Spec.Template.Spec.Containers[0]
	c.Image = "registry.test/" + image
	b, err := json.Marshal([]corev1.Container{c})
	s.must(err)
	s.merge("apps/v1/deployments", name, `{"spec":{"template":{"spec":{"containers":`+string(b)+`}}}}`)
	if strings.HasSuffix(image, ":stuck") {
		return
	}
	s.eventually(name+" is rolled out", func() bool {
		d, err := s.admin.AppsV1().Deployments(s.namespace).Get(s.Context(), name, metav1.GetOptions{})
		return err == nil && d.Status.ObservedGeneration == d.Generation && d.Status.UpdatedReplicas == *d.Spec.Replicas && d.Status.Replicas == d.Status.UpdatedReplicas && d.Status.AvailableReplicas == *d.Spec.Replicas
	})
}

// replaceNode is another machine that takes the node's name.
func (s *stage) replaceNode() {
	s.Helper()
	s.must(s.admin.CoreV1().Nodes().Delete(s.Context(), s.node, metav1.DeleteOptions{}))
	_, err := s.admin.CoreV1().Nodes().Create(s.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: s.node}}, metav1.CreateOptions{})
	s.must(err)
}
