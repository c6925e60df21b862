package kubernetes_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kmend/kmend/incident"
)

// budget lets no pod of app=NAME be evicted, until it is deleted.
func (s *stage) budget(name string) (remove func()) {
	s.Helper()
	none := intstr.FromInt32(0)
	budgets := s.admin.PolicyV1().PodDisruptionBudgets(s.namespace)
	_, err := budgets.Create(s.Context(), &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &none, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}}}, metav1.CreateOptions{})
	s.must(err)
	s.eventually("the budget is seen", func() bool {
		b, err := budgets.Get(s.Context(), name, metav1.GetOptions{})
		return err == nil && b.Status.ObservedGeneration == b.Generation && b.Status.ExpectedPods > 0
	})
	return func() { _ = budgets.Delete(s.Context(), name, metav1.DeleteOptions{}) }
}

func (s *stage) unschedulable() string { return s.at("core/v1/nodes", s.node, "spec", "unschedulable") }

func (s *stage) exists(name string) bool {
	_, err := s.admin.CoreV1().Pods(s.namespace).Get(s.Context(), name, metav1.GetOptions{})
	return err == nil
}

func TestEvict(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.deployment("web", "app:1", 2)
	target := s.podOf("web")
	const name = "kubernetes.evict_pod"
	a := s.acting(s.as(""), name)
	step := s.planned(a, target, nil)
	if !s.exists(target.Pod) {
		t.Fatal("the preview evicted the pod")
	}
	remove := s.budget("web")
	_, err := a.Preview(t.Context(), target, nil)
	s.refusal(err, "disruption budget")

	// The budget is full when the step begins, and has room a little later.
	timer := time.AfterFunc(500*time.Millisecond, remove)
	defer timer.Stop()
	done, err := a.Apply(t.Context(), target, step)
	s.must(err)
	s.is("result", done.Result+done.State["event"], "applied")
	if s.exists(target.Pod) {
		t.Error("the pod is still there")
	}
	s.happened("Pod", "Apply", 1)
	again, err := a.Apply(t.Context(), target, step)
	s.must(err)
	s.is("result of a second Apply", again.Result, "already applied")
	_, err = a.Undo(t.Context(), target, step, done)
	s.refusal(err, "cannot be undone")
	target = s.podOf("web")
	s.missesEachRight(name, target, nil)

	// A budget that stays full.
	step = s.planned(a, target, map[string]any{"timeout": "2s"})
	s.budget("web")
	x, err := a.Apply(t.Context(), target, step)
	s.refusal(err, "disruption budget")
	s.is("result", x.Result, "")
	if !s.exists(target.Pod) {
		t.Error("the budget was not respected")
	}
	s.pod("alone", []corev1.Container{burstable("1m", "2m")})
	_, err = a.Preview(t.Context(), s.target("alone"), nil)
	s.refusal(err, "nobody would start it again")
}

func TestDrain(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.deployment("web", "app:1", 2)
	s.deployment("api", "app:1", 2)
	target := s.podOf("web")
	const name = "kubernetes.drain_node"
	a := s.acting(s.as(""), name)
	with := map[string]any{"timeout": "20s"}
	step := s.planned(a, target, with)
	s.is("the step may take", step.Preview.Timeout.String(), "50s")
	s.is("pods it takes away", fmt.Sprint(step.Preview.Disrupts), "4")
	s.is("cordoned by the preview", s.unschedulable(), "null")
	if !s.exists(target.Pod) {
		t.Fatal("the preview evicted a pod")
	}
	done, err := a.Apply(t.Context(), target, step)
	s.must(err)
	s.is("result", done.Result+done.State["event"], "applied")
	s.is("cordoned", s.unschedulable(), "true")
	s.is("pods on the node", s.onNode(), "")
	again, err := a.Apply(t.Context(), target, step)
	s.must(err)
	s.is("result of a second Apply", again.Result, "already applied")
	undone, err := a.Undo(t.Context(), target, step, again)
	s.must(err)
	s.is("result", undone.Result, "undone")
	s.is("cordoned after Undo", s.unschedulable(), "null")

	s.eventually("a pod is back", func() bool { return s.running("web") })
	s.missesEachRight(name, s.podOf("web"), with)
	// Also where there is nothing to evict now: there may be by then.
	s.merge("apps/v1/deployments", "web", `{"spec":{"replicas":0}}`)
	s.merge("apps/v1/deployments", "api", `{"spec":{"replicas":0}}`)
	s.eventually("no pod is left", func() bool { return s.onNode() == "" })
	s.misses("create /pods/eviction", name, incident.Target{Node: s.node}, with)
}

// running reports whether a pod with app=NAME runs.
func (s *stage) running(name string) bool {
	l, err := s.admin.CoreV1().Pods(s.namespace).List(s.Context(), metav1.ListOptions{LabelSelector: "app=" + name, FieldSelector: "status.phase=Running"})
	return err == nil && len(l.Items) > 0
}

// onNode are the running pods of the stage's node.
func (s *stage) onNode() string {
	l, err := s.admin.CoreV1().Pods(s.namespace).List(s.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=" + s.node})
	s.must(err)
	var out []string
	for _, p := range l.Items {
		out = append(out, p.Name)
	}
	return strings.Join(out, " ")
}

// A budget that never has room: the drain ends in its time, and the node takes pods again.
func TestDrainThatIsBlocked(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.deployment("web", "app:1", 2)
	s.deployment("api", "app:1", 1)
	s.budget("web")
	target := s.podOf("web")
	a := s.acting(cluster(t), "kubernetes.drain_node")
	step := s.planned(a, target, map[string]any{"timeout": "2s"})
	if !strings.Contains(step.Preview.Summary, "disruption budgets have no room now for "+s.namespace+"/web-") {
		t.Errorf("the plan does not say that a budget is full: %s", step.Preview.Summary)
	}
	began := time.Now()
	x, err := a.Apply(t.Context(), target, step)
	s.refusal(err, "disruption budget")
	s.refusal(err, "the node was uncordoned")
	if took := time.Since(began); took < 2*time.Second || took > 8*time.Second {
		t.Errorf("it took %s", took)
	}
	s.is("result", x.Result, "")
	s.is("cordoned", s.unschedulable(), "null")
	if !s.exists(target.Pod) {
		t.Error("the budget was not respected")
	}
	s.happened("Node", "PutBack", 1)
}

// What comes to the node while it is drained is evicted too: the pods are listed
// before every eviction. A node that was cordoned before stays so.
func TestDrainLooksAgain(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.deployment("web", "app:1", 3)
	target := s.podOf("web")
	armed, late := false, false
	var order []string // of what Apply asked for
	config := intercepted(cluster(t), func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		switch {
		case !armed:
		case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Query().Get("fieldSelector"), "spec.nodeName="):
			order = append(order, "list")
		case strings.HasSuffix(r.URL.Path, "/eviction"):
			order = append(order, "evict "+strings.Split(r.URL.Path, "/")[6])
			if !late {
				late = true
				s.bound("late")
			}
		}
		return next.RoundTrip(r)
	})
	a := s.acting(config, "kubernetes.drain_node")
	s.merge("core/v1/nodes", s.node, `{"spec":{"unschedulable":true}}`)
	step := s.planned(a, target, map[string]any{"timeout": "20s"})
	armed = true // the dry runs are over
	done, err := a.Apply(t.Context(), target, step)
	s.must(err)
	if s.exists("late") || !late {
		t.Errorf("the pod that came late was not evicted (it came: %v)", late)
	}
	evicted := map[string]bool{}
	for i, what := range order {
		if strings.HasPrefix(what, "evict") {
			evicted[what] = true
			if i == 0 || order[i-1] != "list" {
				t.Errorf("before %q the pods were not listed: %v", what, order)
			}
		}
	}
	s.is("pods that were evicted", fmt.Sprint(len(evicted)), "4")
	_, err = a.Undo(t.Context(), target, step, done)
	s.must(err)
	s.is("cordoned after Undo", s.unschedulable(), "true")

	s.bound("orphan")
	s.merge("core/v1/pods", "orphan", `{"metadata":{"ownerReferences":null}}`)
	_, err = a.Preview(t.Context(), s.target("orphan"), nil)
	s.refusal(err, "declare no controller")
}

// bound is a pod with some controller that a scheduler had on its way to the node.
func (s *stage) bound(name string) {
	yes := true
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: []metav1.OwnerReference{{APIVersion: "example.test/v1", Kind: "Thing", Name: "thing", UID: "thing", Controller: &yes}}},
		Spec: corev1.PodSpec{NodeName: s.node, Containers: []corev1.Container{box("app:1")}}}
	_, err := s.admin.CoreV1().Pods(s.namespace).Create(context.WithoutCancel(s.Context()), p, metav1.CreateOptions{})
	s.must(err)
}
