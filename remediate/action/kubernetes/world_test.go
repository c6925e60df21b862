package kubernetes_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	client "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action/kubernetes"
)

// world is a namespace with a node of its own, on which the test is the kubelet.
type world struct {
	*testing.T
	admin     client.Interface
	namespace string
	node      string
	used      usage // by whom has exactly the rights of deploy/rbac
}

func newWorld(t *testing.T, cpus string) *world {
	t.Helper()
	config := cluster(t)
	config.QPS = -1
	admin, err := client.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, admin: admin}
	ns, err := admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "kmend-"}}, metav1.CreateOptions{})
	w.must(err)
	w.namespace, w.node = ns.Name, ns.Name+"-node"
	n, err := admin.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: w.node}}, metav1.CreateOptions{})
	w.must(err)
	n.Status.Allocatable = list(cpus, "8Gi")
	n.Status.Capacity = n.Status.Allocatable
	_, err = admin.CoreV1().Nodes().UpdateStatus(t.Context(), n, metav1.UpdateOptions{})
	w.must(err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		now := metav1.DeleteOptions{GracePeriodSeconds: new(int64)}
		for _, err := range []error{
			admin.CoreV1().Pods(w.namespace).DeleteCollection(ctx, now, metav1.ListOptions{}),
			admin.CoreV1().Nodes().Delete(ctx, w.node, now),
			admin.CoreV1().Namespaces().Delete(ctx, w.namespace, now),
		} {
			if err != nil {
				t.Errorf("cleaning up: %v", err)
			}
		}
	})
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// list is a resource list; an empty amount is left out.
func list(cpu, memory string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for name, amount := range map[corev1.ResourceName]string{corev1.ResourceCPU: cpu, corev1.ResourceMemory: memory} {
		if amount != "" {
			l[name] = resource.MustParse(amount)
		}
	}
	return l
}

// burstable is a container with a CPU request below its limit.
func burstable(request, limit string) corev1.Container {
	return corev1.Container{Name: "app", Image: "registry.test/app:1",
		Resources: corev1.ResourceRequirements{Requests: list(request, ""), Limits: list(limit, "")}}
}

// guaranteed is a container with requests equal to limits.
func guaranteed(cpu string) corev1.Container {
	return corev1.Container{Name: "app", Image: "registry.test/app:1",
		Resources: corev1.ResourceRequirements{Requests: list(cpu, "64Mi"), Limits: list(cpu, "64Mi")}}
}

// pod creates a pod on the world's node and reports it as running.
func (w *world) pod(name string, containers []corev1.Container, change ...func(*corev1.Pod)) *corev1.Pod {
	w.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace},
		Spec:       corev1.PodSpec{NodeName: w.node, Containers: containers, TerminationGracePeriodSeconds: new(int64)},
	}
	for _, f := range change {
		f(p)
	}
	_, err := w.admin.CoreV1().Pods(w.namespace).Create(w.Context(), p, metav1.CreateOptions{})
	w.must(err)
	w.report(name, func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodRunning
		p.Status.ContainerStatuses = nil
		for _, c := range p.Spec.Containers {
			p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{
				Name: c.Name, Image: c.Image, Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}},
				Resources: c.Resources.DeepCopy(), AllocatedResources: c.Resources.Requests.DeepCopy(),
			})
		}
	})
	return w.get(name)
}

func (w *world) get(name string) *corev1.Pod {
	w.Helper()
	p, err := w.admin.CoreV1().Pods(w.namespace).Get(w.Context(), name, metav1.GetOptions{})
	w.must(err)
	return p
}

// report writes a pod's status as its kubelet would.
func (w *world) report(name string, change func(*corev1.Pod)) {
	w.Helper()
	w.must(w.tryReport(w.Context(), name, change))
}

func (w *world) tryReport(ctx context.Context, name string, change func(*corev1.Pod)) error {
	pods := w.admin.CoreV1().Pods(w.namespace)
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		p, err := pods.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		change(p)
		_, err = pods.UpdateStatus(ctx, p, metav1.UpdateOptions{})
		return err
	})
}

// An answer is what the kubelet does about a pod whose spec differs from what it runs.
type answer func(p *corev1.Pod)

// resized: the kubelet has done it.
func resized(p *corev1.Pod) {
	p.Status.Conditions = nil
	for i, c := range p.Spec.Containers {
		p.Status.ContainerStatuses[i].Resources = c.Resources.DeepCopy()
		p.Status.ContainerStatuses[i].AllocatedResources = c.Resources.Requests.DeepCopy()
	}
}

// restarted: it has done it, and the container restarted over it.
func restarted(p *corev1.Pod) {
	resized(p)
	p.Status.ContainerStatuses[0].RestartCount++
}

// refused is a PodResizePending condition about the spec of now.
func refused(reason, message string) answer {
	return func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodResizePending, Status: corev1.ConditionTrue,
			Reason: reason, Message: message, ObservedGeneration: p.Generation}}
	}
}

// kubelet answers every difference between a pod's spec and its status until the
// test ends: each with the next answer, then with the last one again and again.
func (w *world) kubelet(name string, answers ...answer) {
	ctx, cancel := context.WithCancel(w.Context())
	ended := make(chan struct{})
	w.Cleanup(func() { cancel(); <-ended })
	go func() {
		defer close(ended)
		seen := int64(0)
		for ; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
			p, err := w.admin.CoreV1().Pods(w.namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil || p.Generation == seen || same(p) {
				continue
			}
			time.Sleep(60 * time.Millisecond) // a kubelet is not that fast
			report := func(p *corev1.Pod) {
				if !same(p) { // it may be another pod by now
					answers[0](p)
				}
			}
			if err := w.tryReport(ctx, name, report); err != nil {
				if ctx.Err() == nil && !apierrors.IsNotFound(err) {
					w.Errorf("playing the kubelet: %v", err)
				}
				continue
			}
			if len(answers) > 1 {
				answers = answers[1:]
			} else {
				seen = p.Generation
			}
		}
	}()
}

func same(p *corev1.Pod) bool {
	if len(p.Status.ContainerStatuses) != len(p.Spec.Containers) {
		return true // not started
	}
	for i, c := range p.Spec.Containers {
		if s := p.Status.ContainerStatuses[i]; s.Resources == nil ||
			!s.Resources.Limits.Cpu().Equal(*c.Resources.Limits.Cpu()) || !s.Resources.Limits.Memory().Equal(*c.Resources.Limits.Memory()) {
			return false
		}
	}
	return len(p.Status.Conditions) == 0
}

// cpu is the container's CPU in the spec: "limit request".
func (w *world) cpu(name string) string {
	w.Helper()
	r := w.get(name).Spec.Containers[0].Resources
	return fmt.Sprintf("%s %s", r.Limits.Cpu(), r.Requests.Cpu())
}

func (w *world) target(name string) incident.Target {
	return incident.Target{Namespace: w.namespace, Pod: name}
}

// events are "TYPE ACTION: MESSAGE" of the events that kmend wrote on a pod, sorted.
func (w *world) events(pod *corev1.Pod) (out []string) {
	w.Helper()
	l, err := w.admin.CoreV1().Events(w.namespace).List(w.Context(), metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(pod.UID)})
	w.must(err)
	for _, e := range l.Items {
		if e.Reason != kubernetes.EventReason || e.InvolvedObject.FieldPath != "spec.containers{app}" {
			w.Errorf("a strange event: %+v", e)
		}
		out = append(out, e.Type+" "+e.Action+": "+e.Message)
	}
	slices.Sort(out)
	return out
}

// resizer is the action with the administrator's rights.
func (w *world) resizer(wait time.Duration) *kubernetes.ResizeCPU {
	w.Helper()
	a, err := kubernetes.NewResizeCPU(w.admin, kubernetes.Options{Wait: wait, Poll: 20 * time.Millisecond})
	w.must(err)
	return a
}

// meddled is like resizer; act runs between its read and its patch, each time.
func (w *world) meddled(act func()) *kubernetes.ResizeCPU {
	w.Helper()
	config := cluster(w.T)
	config.WrapTransport = func(next http.RoundTripper) http.RoundTripper { return meddler{next, act} }
	c, err := client.NewForConfig(config)
	w.must(err)
	a, err := kubernetes.NewResizeCPU(c, kubernetes.Options{Wait: 10 * time.Second, Poll: 20 * time.Millisecond})
	w.must(err)
	return a
}

type meddler struct {
	http.RoundTripper
	act func()
}

func (m meddler) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPatch && !r.URL.Query().Has("dryRun") {
		m.act()
	}
	return m.RoundTripper.RoundTrip(r)
}

// resize is what somebody else does to the pod's limit.
func (w *world) resize(name, limit string) {
	w.Helper()
	w.patch(name, `{"spec":{"containers":[{"name":"app","resources":{"limits":{"cpu":"`+limit+`"}}}]}}`)
}

// patch is what somebody else does to the pod's resources.
func (w *world) patch(name, body string) {
	w.Helper()
	_, err := w.admin.CoreV1().Pods(w.namespace).Patch(w.Context(), name, types.StrategicMergePatchType, []byte(body), metav1.PatchOptions{}, "resize")
	w.must(err)
}

// settled waits until the kubelet runs what the spec says.
func (w *world) settled(name string) {
	w.Helper()
	for deadline := time.Now().Add(10 * time.Second); !same(w.get(name)); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("pod %s did not settle", name)
		}
	}
}

var double = map[string]any{"factor": 2, "max": "4"}

func (w *world) preview(a *kubernetes.ResizeCPU, t incident.Target, with map[string]any) incident.Step {
	w.Helper()
	p, err := a.Preview(w.Context(), t, with)
	w.must(err)
	return incident.Step{Action: a.Name(), With: with, Preview: &p}
}

// refusal checks that err says want.
func (w *world) refusal(err error, want string) {
	w.Helper()
	if err == nil {
		err = errors.New("no error")
	}
	if !strings.Contains(err.Error(), want) {
		w.Errorf("error %q, want %q", err, want)
	}
}

func (w *world) is(what, got, want string) {
	w.Helper()
	if got != want {
		w.Errorf("%s is %q, want %q", what, got, want)
	}
}
