package kubernetes_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestResizeAndUndo(t *testing.T) {
	w := newWorld(t, "4")
	pod := w.pod("web", []corev1.Container{burstable("100m", "200m")})
	w.kubelet("web", resized)
	a, target := w.resizer(10*time.Second), w.target("web")

	step := w.preview(a, target, double)
	p := step.Preview
	w.is("summary", p.Summary, "raise the CPU limit of container app in pod "+w.namespace+"/web from 0.2 to 0.4 CPU in place")
	w.is("before", p.Before, "limit 0.2 CPU, request 0.1 CPU")
	w.is("after", p.After, "limit 0.4 CPU, request 0.1 CPU")
	w.is("server", p.Server, "kubernetes server-side dry run: limits.cpu=400m requests.cpu=100m qosClass=Burstable")
	w.is("precondition", p.Preconditions["uid"]+p.Preconditions["resourceVersion"], string(pod.UID)+pod.ResourceVersion)
	if now := w.get("web"); now.ResourceVersion != pod.ResourceVersion {
		t.Error("the preview changed the pod")
	}

	done, err := a.Apply(t.Context(), target, step)
	w.must(err)
	w.is("result", done.Result+", "+done.Before+" -> "+done.After, "applied, limit 0.2 CPU, request 0.1 CPU -> limit 0.4 CPU, request 0.1 CPU")
	w.is("cpu", w.cpu("web"), "400m 100m")
	again, err := a.Apply(t.Context(), target, step)
	w.must(err)
	w.is("second result", again.Result, "already applied")

	for range 2 { // the second finds it undone
		undone, err := a.Undo(t.Context(), target, step, done)
		w.must(err)
		w.is("result", undone.Result, "undone")
		w.is("cpu", w.cpu("web"), "200m 100m")
	}
	w.is("events", strings.Join(w.events(pod), "\n"), strings.Join([]string{
		"Normal Resize: kmend raised the CPU of container app in place from limit 0.2 CPU, request 0.1 CPU to limit 0.4 CPU, request 0.1 CPU",
		"Normal Undo: kmend put the CPU of container app back from limit 0.4 CPU, request 0.1 CPU to limit 0.2 CPU, request 0.1 CPU, because raising it did not help",
	}, "\n"))
}

func TestGuaranteedMovesTheRequest(t *testing.T) {
	w := newWorld(t, "2")
	w.pod("neighbour", []corev1.Container{burstable("1", "2")})
	w.pod("ended", []corev1.Container{burstable("1", "2")})
	w.report("ended", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
	w.pod("web", []corev1.Container{guaranteed("300m")})
	w.kubelet("web", resized)
	a, target := w.resizer(10*time.Second), w.target("web")

	step := w.preview(a, target, map[string]any{"factor": 5, "max": 4})
	// 2 CPUs, 1 requested by the neighbour, 0.3 by the pod itself: it may have 1.
	w.is("after", step.Preview.After, "limit 1 CPU, request 1 CPU")
	if !strings.Contains(step.Preview.Summary, "its request from 0.3 to 1 CPU (no further: the pod is Guaranteed, so the request moves with the limit, and the node has 0.7 CPU left)") {
		t.Errorf("summary %q", step.Preview.Summary)
	}
	done, err := a.Apply(t.Context(), target, step)
	w.must(err)
	w.is("cpu", w.cpu("web"), "1 1")
	_, err = a.Preview(t.Context(), target, double)
	w.refusal(err, "nothing to raise: the limit is 1 CPU and the pod is Guaranteed")
	_, err = a.Undo(t.Context(), target, step, done)
	w.must(err)
	w.is("cpu", w.cpu("web"), "300m 300m")
}

func TestInfeasibleIsPutBack(t *testing.T) {
	w := newWorld(t, "4")
	pod := w.pod("web", []corev1.Container{burstable("100m", "200m")})
	w.kubelet("web", refused("Infeasible", "Resize is infeasible for Guaranteed Pods alongside CPU Manager policy"), resized)
	a := w.resizer(20 * time.Second)
	started := time.Now()
	x, err := a.Apply(t.Context(), w.target("web"), w.preview(a, w.target("web"), double))
	w.refusal(err, "the kubelet refuses to resize pod "+w.namespace+"/web: PodResizePending: Infeasible: Resize is infeasible for Guaranteed Pods alongside CPU Manager policy; the limit was put back to 0.2 CPU")
	w.is("cpu", w.cpu("web"), "200m 100m")
	w.is("result", x.Result, "")
	if d := time.Since(started); d > 10*time.Second {
		t.Errorf("it took %s to see a refusal", d)
	}
	if e := w.events(pod); len(e) != 1 || !strings.HasPrefix(e[0], "Warning PutBack: kmend put the CPU of container app back") {
		t.Errorf("events %q", e)
	}
}

func TestDeferred(t *testing.T) {
	later := refused("Deferred", "Node didn't have enough resource: cpu")
	t.Run("until it fits", func(t *testing.T) {
		w := newWorld(t, "4")
		w.pod("web", []corev1.Container{burstable("100m", "200m")})
		w.kubelet("web", later, later, later, resized)
		a := w.resizer(20 * time.Second)
		x, err := a.Apply(t.Context(), w.target("web"), w.preview(a, w.target("web"), double))
		w.must(err)
		w.is("result", x.Result, "applied")
		w.is("cpu", w.cpu("web"), "400m 100m")
	})
	t.Run("for too long", func(t *testing.T) {
		w := newWorld(t, "4")
		w.pod("web", []corev1.Container{burstable("100m", "200m")})
		w.kubelet("web", later)
		a := w.resizer(time.Second)
		_, err := a.Apply(t.Context(), w.target("web"), w.preview(a, w.target("web"), double))
		w.refusal(err, "the kubelet did not resize pod "+w.namespace+"/web in 1s: PodResizePending: Deferred: Node didn't have enough resource: cpu; the limit was put back to 0.2 CPU")
		w.is("cpu", w.cpu("web"), "200m 100m")
	})
	t.Run("no kubelet at all", func(t *testing.T) {
		w := newWorld(t, "4")
		w.pod("web", []corev1.Container{burstable("100m", "200m")})
		a := w.resizer(time.Second)
		_, err := a.Apply(t.Context(), w.target("web"), w.preview(a, w.target("web"), double))
		w.refusal(err, "the kubelet reports limit 0.2 CPU, request 0.1 CPU; the limit was put back to 0.2 CPU")
		w.is("cpu", w.cpu("web"), "200m 100m")
	})
}

func TestRestart(t *testing.T) {
	w := newWorld(t, "4")
	restarts := burstable("100m", "200m")
	restarts.ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceCPU, RestartPolicy: corev1.RestartContainer}}
	w.pod("web", []corev1.Container{restarts})
	w.pod("calm", []corev1.Container{burstable("100m", "200m")})
	w.kubelet("web", restarted, resized)
	w.kubelet("calm", restarted, resized)
	a := w.resizer(10 * time.Second)

	_, err := a.Preview(t.Context(), w.target("web"), double)
	w.refusal(err, "restarts when its CPU is resized (resizePolicy); set with.allowRestart to accept that")
	x, err := a.Apply(t.Context(), w.target("web"), w.preview(a, w.target("web"), map[string]any{"max": 1, "allowRestart": true}))
	w.must(err)
	w.is("result", x.Result, "applied")

	// A container that must not restart and does.
	_, err = a.Apply(t.Context(), w.target("calm"), w.preview(a, w.target("calm"), double))
	w.refusal(err, "restarted while it was resized; the limit was put back to 0.2 CPU")
	w.is("cpu", w.cpu("calm"), "200m 100m")
}

// The kubelet writes a pod's status all the time: that must not stop a plan.
func TestStatusUpdatesDoNotStopIt(t *testing.T) {
	w := newWorld(t, "4")
	w.pod("web", []corev1.Container{burstable("100m", "200m")})
	w.kubelet("web", resized)
	updates := 0
	a := w.meddled(func() {
		if updates++; updates <= 4 {
			w.report("web", func(p *corev1.Pod) { p.Status.Message = fmt.Sprint("update ", updates) })
		}
	})
	x, err := a.Apply(t.Context(), w.target("web"), w.preview(a, w.target("web"), double))
	w.must(err)
	w.is("result", x.Result, "applied")
	w.is("cpu", w.cpu("web"), "400m 100m")
	if updates != 5 {
		t.Errorf("the patch was sent %d times, want 5: four conflicts and a success", updates)
	}
}

func TestSomebodyElse(t *testing.T) {
	w := newWorld(t, "4")
	pod := w.pod("web", []corev1.Container{burstable("100m", "200m")})
	w.kubelet("web", resized)
	a, target := w.resizer(10*time.Second), w.target("web")
	step := w.preview(a, target, double)
	w.resize("web", "250m")
	_, err := a.Apply(t.Context(), target, step)
	w.refusal(err, "has limit 0.25 CPU, request 0.1 CPU now and had limit 0.2 CPU, request 0.1 CPU: somebody changed it since, so it stays")
	w.is("cpu", w.cpu("web"), "250m 100m")

	w.resize("web", "200m")
	step = w.preview(a, target, double) // the spec moved twice: the plan is of another one
	done, err := a.Apply(t.Context(), target, step)
	w.must(err)
	w.resize("web", "900m")
	_, err = a.Undo(t.Context(), target, step, done)
	w.refusal(err, "somebody changed it since, so it stays")
	w.is("cpu", w.cpu("web"), "900m 100m")

	// Another pod of the same name: nothing to do with the plan.
	w.must(w.admin.CoreV1().Pods(w.namespace).Delete(t.Context(), "web", metav1.DeleteOptions{GracePeriodSeconds: new(int64)}))
	undone, err := a.Undo(t.Context(), target, step, done)
	w.must(err)
	w.is("undo of a pod that is gone", undone.Result+": "+undone.After, "undone: the pod is gone")
	w.pod("web", []corev1.Container{burstable("100m", "200m")})
	_, err = a.Apply(t.Context(), target, step)
	w.refusal(err, "was replaced (uid ")
	undone, err = a.Undo(t.Context(), target, step, done)
	w.must(err)
	w.is("undo of a pod that was replaced", undone.Result+": "+undone.After, "undone: the pod is gone")
	w.is("cpu", w.cpu("web"), "200m 100m")

	stale := target
	stale.PodUID = string(pod.UID)
	_, err = a.Preview(t.Context(), stale, double)
	w.refusal(err, "was replaced since it was measured")
}

// The rest of the spec is part of what was planned for and approved.
func TestSpecChangedSinceThePlan(t *testing.T) {
	w := newWorld(t, "4")
	side := burstable("100m", "200m")
	side.Name = "side"
	w.pod("web", []corev1.Container{burstable("100m", "200m"), side})
	w.kubelet("web", resized)
	target := w.target("web")
	target.Container = "app"
	other := func(limit string) {
		w.patch("web", `{"spec":{"containers":[{"name":"side","resources":{"limits":{"cpu":"`+limit+`"}}}]}}`)
	}

	a := w.resizer(10 * time.Second)
	step := w.preview(a, target, double)
	w.is("generation", step.Preview.Preconditions["generation"], fmt.Sprint(w.get("web").Generation))
	other("300m")
	x, err := a.Apply(t.Context(), target, step)
	w.refusal(err, "the plan was made for "+step.Preview.Preconditions["generation"]+": somebody changed it since, so it stays")
	w.is("result", x.Result, "")
	w.is("cpu", w.cpu("web"), "200m 100m")
	w.settled("web")

	// Between the read and the patch.
	once := sync.OnceFunc(func() { other("400m") })
	meddled := w.meddled(once)
	_, err = meddled.Apply(t.Context(), target, w.preview(meddled, target, double))
	w.refusal(err, "somebody changed it since, so it stays")
	w.is("cpu", w.cpu("web"), "200m 100m")
	w.settled("web")

	// What is done already, and what is put back, does not ask for the rest of the spec.
	step = w.preview(a, target, double)
	done, err := a.Apply(t.Context(), target, step)
	w.must(err)
	other("500m")
	again, err := a.Apply(t.Context(), target, step)
	w.must(err)
	w.is("result", again.Result, "already applied")
	_, err = a.Undo(t.Context(), target, step, done)
	w.must(err)
	w.is("cpu", w.cpu("web"), "200m 100m")
}

func TestChangedBetweenReadAndPatch(t *testing.T) {
	w := newWorld(t, "4")
	w.pod("web", []corev1.Container{burstable("100m", "200m")})
	a := w.meddled(func() { w.resize("web", "250m") })
	x, err := a.Apply(t.Context(), w.target("web"), w.preview(a, w.target("web"), double))
	w.refusal(err, "has limit 0.25 CPU, request 0.1 CPU now and had limit 0.2 CPU")
	w.is("result", x.Result, "")
	w.is("cpu", w.cpu("web"), "250m 100m")
}

// A process that is stopped while it waits goes on where it was.
func TestStoppedWhileWaiting(t *testing.T) {
	w := newWorld(t, "4")
	w.pod("web", []corev1.Container{burstable("100m", "200m")})
	a, target := w.resizer(20*time.Second), w.target("web")
	step := w.preview(a, target, double)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(400*time.Millisecond, cancel)
	x, err := a.Apply(ctx, target, step)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	w.is("result", x.Result, "applied")
	w.is("cpu", w.cpu("web"), "400m 100m")
	w.kubelet("web", resized)
	x, err = a.Apply(t.Context(), target, step)
	w.must(err)
	w.is("result", x.Result, "already applied")

	// A step whose time is over is put back instead: nobody will go on.
	_, err = a.Undo(t.Context(), target, step, x)
	w.must(err)
	slow := w.pod("slow", []corev1.Container{burstable("100m", "200m")})
	step = w.preview(a, w.target("slow"), double)
	ctx, cancel = context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	_, err = a.Apply(ctx, w.target("slow"), step)
	w.refusal(err, "the limit was put back to 0.2 CPU")
	w.is("cpu", w.cpu("slow"), "200m 100m")
	if e := w.events(slow); len(e) != 1 {
		t.Errorf("events %q", e)
	}
}
