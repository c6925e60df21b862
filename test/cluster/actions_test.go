package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kmend/kmend/incident"
)

func (b *bed) cordoned() bool {
	b.Helper()
	n, err := b.admin.CoreV1().Nodes().Get(b.Context(), NodeName, metav1.GetOptions{})
	b.must(err)
	return n.Spec.Unschedulable
}

// running are the pods of the bed that the node runs, by their app.
func (b *bed) running() (apps []string) {
	b.Helper()
	l, err := b.admin.CoreV1().Pods(b.namespace).List(b.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=" + NodeName})
	b.must(err)
	for _, p := range l.Items {
		apps = append(apps, p.Labels["app"])
	}
	return apps
}

// A drain that a disruption budget blocks ends in its time, says which budget,
// and the node takes pods again; without the budget the node gets empty.
func TestDrainsTheNode(t *testing.T) {
	b := newBed(t)
	b.deployment("web", 2)
	b.deployment("api", 1)
	b.daemonSet("log")
	two := intstr.FromInt32(2)
	budgets := b.admin.PolicyV1().PodDisruptionBudgets(b.namespace)
	_, err := budgets.Create(t.Context(), &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "both-of-web"},
		Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &two, Selector: selecting("web")}}, metav1.CreateOptions{})
	b.must(err)
	b.eventually("the budget counts", func() bool {
		p, err := budgets.Get(t.Context(), "both-of-web", metav1.GetOptions{})
		return err == nil && p.Status.CurrentHealthy == 2 && p.Status.DesiredHealthy == 2
	})
	web := b.pods("web")
	target := b.target("web")

	p := b.plan(target, "kubernetes.drain_node", map[string]any{"timeout": "4s"})
	if b.cordoned() {
		t.Error("the dry run cordoned the node")
	}
	began := time.Now()
	x, err := b.Apply(t.Context(), p, 0)
	took := time.Since(began)
	t.Logf("after %.1f s: %v", took.Seconds(), err)
	b.says(err, "not empty after 4s", b.namespace+"/web-", "disruption budget both-of-web needs 2 healthy pods and has 2", "the node was uncordoned")
	if took < 4*time.Second || took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
	b.is("result", x.Result, "")
	b.is("cordoned", b.cordoned(), false)
	for i, now := range b.pods("web") {
		b.is("pod", now.Name+" "+string(now.UID), web[i].Name+" "+string(web[i].UID))
	}
	b.available("api", 1) // it was evicted, and is back

	b.must(budgets.Delete(t.Context(), "both-of-web", metav1.DeleteOptions{}))
	p = b.plan(target, "kubernetes.drain_node", map[string]any{"timeout": "60s"})
	b.is("pods that it takes away", p.Steps[0].Preview.Disrupts, 3)
	x = b.applied(p)
	b.is("cordoned", b.cordoned(), true)
	b.is("what runs on the node", b.running(), []string{"log"})
	b.undone(p, x)
	b.is("cordoned after Undo", b.cordoned(), false)
	b.available("web", 2)
	b.available("api", 1)
}

func TestEvictsAPod(t *testing.T) {
	b := newBed(t)
	b.deployment("web", 2)
	target := b.target("web")
	b.applied(b.plan(target, "kubernetes.evict_pod", nil))
	b.ready("web", 2)
	for _, p := range b.pods("web") {
		if string(p.UID) == target.PodUID {
			t.Errorf("pod %s was not replaced", p.Name)
		}
	}
}

func TestScales(t *testing.T) {
	b := newBed(t)
	b.deployment("web", 1)
	b.statefulSet("db", 1)
	for _, c := range []struct {
		app  string
		with map[string]any
		want int
	}{
		{"web", map[string]any{"by": 2, "max": 5}, 3},
		{"db", map[string]any{"factor": 2, "max": 5}, 2},
	} {
		p := b.plan(b.target(c.app), "kubernetes.scale", c.with)
		x := b.applied(p)
		ready := 0
		for _, pod := range b.pods(c.app) { // Apply has waited for them
			if s := pod.Status.ContainerStatuses; len(s) == 1 && s[0].Ready {
				ready++
			}
		}
		b.is("pods of "+c.app+" that are ready", ready, c.want)
		b.undone(p, x)
		b.ready(c.app, 1)
	}
}

// pause is what the pods' program is told to pause, by those that run.
func (b *bed) pause(app string) string {
	b.Helper()
	values := map[string]bool{}
	for _, p := range b.pods(app) {
		if s := p.Status.ContainerStatuses; p.DeletionTimestamp == nil && len(s) == 1 && s[0].Ready {
			for _, e := range p.Spec.Containers[0].Env {
				if e.Name == "BURN_PAUSE" {
					values[e.Value] = true
				}
			}
		}
	}
	return fmt.Sprint(values)
}

// All pods are replaced; a template that somebody rolled out is taken back, and
// comes back with Undo.
func TestRollsOut(t *testing.T) {
	b := newBed(t)
	for _, c := range []struct {
		kind, resource string
		create         func()
		n              int
	}{
		{"Deployment", "deployments", func() { b.deployment("deployment", 2) }, 2},
		{"StatefulSet", "statefulsets", func() { b.statefulSet("statefulset", 2) }, 2},
		{"DaemonSet", "daemonsets", func() { b.daemonSet("daemonset") }, 1},
	} {
		app := strings.ToLower(c.kind)
		c.create()
		old := map[types.UID]bool{}
		for _, p := range b.pods(app) {
			old[p.UID] = true
		}
		b.applied(b.plan(b.target(app), "kubernetes.rollout_restart", nil))
		b.ready(app, c.n)
		for _, p := range b.pods(app) {
			if old[p.UID] {
				t.Errorf("pod %s was not replaced", p.Name)
			}
		}

		body := `{"spec":{"template":{"spec":{"containers":[{"name":"app","env":[{"name":"BURN_PAUSE","value":"2s"}]}]}}}}`
		b.must(b.admin.AppsV1().RESTClient().Patch(types.StrategicMergePatchType).Namespace(b.namespace).Resource(c.resource).Name(app).Body([]byte(body)).Do(t.Context()).Error())
		b.eventually(app+" is rolled out", func() bool { return b.pause(app) == "map[2s:true]" })
		b.ready(app, c.n)
		p := b.plan(b.target(app), "kubernetes.rollout_undo", map[string]any{"kind": c.kind, "name": app, "timeout": "60s"})
		x := b.applied(p)
		b.is("pause", b.pause(app), "map[1s:true]")
		b.undone(p, x)
		b.is("pause after Undo", b.pause(app), "map[2s:true]")
		b.must(b.admin.AppsV1().RESTClient().Delete().Namespace(b.namespace).Resource(c.resource).Name(app).Do(t.Context()).Error())
	}
}

// memoryLimit is the kernel's, of the pod's container.
func memoryLimit(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	dir, err := node.ContainerCgroup(pod)
	if err != nil {
		t.Fatal(err)
	}
	file := "memory.max"
	if !unified() {
		dir, file = strings.Replace(dir, cgroupMount+"/cpu", cgroupMount+"/memory", 1), "memory.limit_in_bytes"
	}
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

func TestResizesInPlace(t *testing.T) {
	b := newBed(t)
	b.deployment("web", 1)
	target := b.target("web")
	pod := b.pod(target)
	p := b.plan(target, "kubernetes.resize_cpu", map[string]any{"max": 1})
	x := b.applied(p)
	waitForQuota(t, pod, 0.4)
	b.undone(p, x)
	waitForQuota(t, pod, 0.2)

	p = b.plan(target, "kubernetes.resize_memory", map[string]any{"max": "1Gi"})
	x = b.applied(p)
	b.is("memory limit in the kernel", memoryLimit(t, pod), 128<<20)
	b.undone(p, x)
	b.is("memory limit after Undo", memoryLimit(t, pod), 64<<20)
	expectNoRestart(t, pod)
}

// The node got smaller between the plan and the act: here it seemed to be larger
// than its kubelet knows when the plan was made. The kubelet says that it will
// never do it, and the pod is as it was.
func TestResizeThatIsInfeasible(t *testing.T) {
	b := newBed(t)
	b.deployment("web", 1, func(p *corev1.PodTemplateSpec) {
		p.Spec.Containers[0].Resources = corev1.ResourceRequirements{ // Guaranteed: the request moves with the limit
			Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("900m"), corev1.ResourceMemory: resource.MustParse("4Gi")}}
	})
	target := b.target("web")
	before := b.pod(target)
	for _, c := range []struct {
		action, after, says string
		most                any
	}{
		{"kubernetes.resize_cpu", "limit 9 CPU", "cpu, requested: 9000", 9},
		{"kubernetes.resize_memory", "memory limit 40Gi", "memory, requested: 42949672960", "40Gi"},
	} {
		plan := incident.Plan{Target: target, Steps: []incident.Step{{Action: c.action, With: map[string]any{"factor": 10, "max": c.most}}}}
		b.eventually("a plan for a larger node", func() bool {
			large := []byte(`{"status":{"allocatable":{"cpu":"1000","memory":"1Ti"}}}`)
			_, err := b.admin.CoreV1().Nodes().Patch(t.Context(), NodeName, types.MergePatchType, large, metav1.PatchOptions{}, "status")
			b.must(err)
			p, err := b.Preview(t.Context(), plan)
			if err != nil || !strings.HasPrefix(p.Steps[0].Preview.After, c.after) {
				return false // the kubelet had put its own number back
			}
			plan = p
			return true
		})
		began := time.Now()
		x, err := b.Apply(t.Context(), plan, 0)
		t.Logf("after %.1f s: %v", time.Since(began).Seconds(), err)
		b.says(err, "the kubelet refuses to resize pod", "Infeasible", "Node didn't have enough capacity: "+c.says, "put back")
		if took := time.Since(began); took > 25*time.Second {
			t.Errorf("it took %s: the kubelet's no was not taken for an answer", took)
		}
		b.is("result", x.Result, "")
		now := b.pod(target)
		b.is("resources", now.Spec.Containers[0].Resources.String(), before.Spec.Containers[0].Resources.String())
		b.eventually("the kubelet has nothing pending", func() bool {
			for _, c := range b.pod(target).Status.Conditions {
				if c.Type == corev1.PodResizePending || c.Type == corev1.PodResizeInProgress {
					return false
				}
			}
			return true
		})
	}
	expectNoRestart(t, before)
}
