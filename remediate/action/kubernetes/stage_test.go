package kubernetes_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	client "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"testing"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action"
	"github.com/kmend/kmend/remediate/action/kubernetes"
)

// stage is a world in which the real controllers run workloads, and the test is
// the scheduler and every kubelet.
type stage struct {
	*world
	dyn dynamic.Interface
}

func newStage(t *testing.T) *stage {
	t.Helper()
	w := newWorld(t, "8")
	d, err := dynamic.NewForConfig(cluster(t))
	w.must(err)
	s := &stage{w, d}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		<-ended
		s.sweep()
	})
	go func() {
		defer close(ended)
		for ; ctx.Err() == nil; time.Sleep(30 * time.Millisecond) {
			s.tick(ctx)
		}
	}()
	return s
}

// sweep removes the workloads, whose controllers would work on until the end.
func (s *stage) sweep() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	policy := metav1.DeletePropagationBackground
	background, all := metav1.DeleteOptions{PropagationPolicy: &policy}, metav1.ListOptions{}
	apps := s.admin.AppsV1()
	_ = apps.Deployments(s.namespace).DeleteCollection(ctx, background, all)
	_ = apps.ReplicaSets(s.namespace).DeleteCollection(ctx, background, all)
	_ = apps.StatefulSets(s.namespace).DeleteCollection(ctx, background, all)
	_ = s.admin.BatchV1().Jobs(s.namespace).DeleteCollection(ctx, background, all)
}

// tick brings every pod of the namespace one step on.
func (s *stage) tick(ctx context.Context) {
	list, err := s.admin.CoreV1().Pods(s.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return
	}
	for i := range list.Items {
		p := &list.Items[i]
		err := s.bring(ctx, p, i)
		if err != nil && ctx.Err() == nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			s.Errorf("playing the kubelet of %s: %v", p.Name, err)
		}
	}
}

func (s *stage) bring(ctx context.Context, p *corev1.Pod, i int) error {
	pods := s.admin.CoreV1().Pods(s.namespace)
	switch {
	case p.DeletionTimestamp != nil:
		return pods.Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64), Preconditions: metav1.NewUIDPreconditions(string(p.UID))})
	case p.Spec.NodeName == "":
		n, err := s.admin.CoreV1().Nodes().Get(ctx, s.node, metav1.GetOptions{})
		if err != nil || n.Spec.Unschedulable {
			return err // it stays pending
		}
		return pods.Bind(ctx, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: p.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: s.node}}, metav1.CreateOptions{})
	case strings.HasSuffix(p.Spec.Containers[0].Image, ":stuck"), p.Status.Phase == corev1.PodSucceeded, p.Status.Phase == corev1.PodFailed:
		return nil
	case strings.HasSuffix(p.Spec.Containers[0].Image, ":done"):
		return s.exit(ctx, p, corev1.PodSucceeded, 0)
	case strings.HasSuffix(p.Spec.Containers[0].Image, ":fails"):
		return s.exit(ctx, p, corev1.PodFailed, 1)
	case p.Status.Phase == corev1.PodRunning && same(p):
		return nil
	}
	p.Status.Phase, p.Status.PodIP = corev1.PodRunning, fmt.Sprintf("10.1.0.%d", i+1)
	p.Status.PodIPs = []corev1.PodIP{{IP: p.Status.PodIP}}
	now := metav1.Now()
	p.Status.StartTime = &now
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: now}}
	p.Status.ContainerStatuses = nil
	for _, c := range p.Spec.Containers {
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
			Resources: c.Resources.DeepCopy(), AllocatedResources: c.Resources.Requests.DeepCopy(),
		})
	}
	_, err := pods.UpdateStatus(ctx, p, metav1.UpdateOptions{})
	return err
}

func (s *stage) exit(ctx context.Context, p *corev1.Pod, phase corev1.PodPhase, code int32) error {
	p.Status.Phase = phase
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: p.Spec.Containers[0].Name, State: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: metav1.Now()}}}}
	_, err := s.admin.CoreV1().Pods(s.namespace).UpdateStatus(ctx, p, metav1.UpdateOptions{})
	return err
}

// box is a container with a memory limit.
func box(image string) corev1.Container {
	return corev1.Container{Name: "app", Image: "registry.test/" + image,
		Resources: corev1.ResourceRequirements{Requests: list("100m", "64Mi"), Limits: list("200m", "128Mi")}}
}

// template is that of the pods app=NAME.
func template(name, image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{box(image)}, TerminationGracePeriodSeconds: new(int64)}}
}

// deployment creates one of n pods and waits until they are ready.
func (s *stage) deployment(name, image string, n int32) {
	s.Helper()
	_, err := s.admin.AppsV1().Deployments(s.namespace).Create(s.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       appsv1.DeploymentSpec{Replicas: &n, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}, Template: template(name, image)},
	}, metav1.CreateOptions{})
	s.must(err)
	s.eventually("the pods of "+name+" are ready", func() bool {
		d, err := s.admin.AppsV1().Deployments(s.namespace).Get(s.Context(), name, metav1.GetOptions{})
		return err == nil && d.Status.AvailableReplicas == n && d.Status.ObservedGeneration == d.Generation
	})
}

func (s *stage) service(name string) {
	s.Helper()
	_, err := s.admin.CoreV1().Services(s.namespace).Create(s.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
	s.must(err)
	s.eventually("Service "+name+" has endpoints", func() bool { return s.endpoints(name) != "" })
}

// endpoints are the pods that a Service sends requests to.
func (s *stage) endpoints(service string) string {
	l, err := s.admin.DiscoveryV1().EndpointSlices(s.namespace).List(s.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + service})
	s.must(err)
	var out []string
	for _, e := range l.Items {
		for _, e := range e.Endpoints {
			out = append(out, e.TargetRef.Name)
		}
	}
	return strings.Join(out, " ")
}

// podOf is the target of one running pod with app=NAME.
func (s *stage) podOf(name string) incident.Target {
	s.Helper()
	l, err := s.admin.CoreV1().Pods(s.namespace).List(s.Context(), metav1.ListOptions{LabelSelector: "app=" + name})
	s.must(err)
	for _, p := range l.Items {
		if p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodRunning {
			return incident.Target{Namespace: s.namespace, Pod: p.Name, PodUID: string(p.UID), Container: "app"}
		}
	}
	s.Fatalf("no pod of %s runs", name)
	return incident.Target{}
}

func (s *stage) eventually(what string, is func() bool) {
	s.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(30 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("not so after 30s: %s", what)
		}
	}
}

// acting is one action for the API server of config.
func (w *world) acting(config *rest.Config, name string) action.Action {
	w.Helper()
	c, err := client.NewForConfig(config)
	w.must(err)
	d, err := dynamic.NewForConfig(config)
	w.must(err)
	all, err := kubernetes.Actions(c, d, kubernetes.Options{Wait: 10 * time.Second, Poll: 20 * time.Millisecond, Request: 2 * time.Second, Own: "kmend-own"})
	w.must(err)
	for _, a := range all {
		if a.Name() == name {
			return a
		}
	}
	w.Fatalf("no action %s", name)
	return nil
}

// planned previews until the API server knows the rights of a new user.
func (w *world) planned(a action.Action, t incident.Target, with map[string]any) incident.Step {
	w.Helper()
	var p incident.Preview
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if p, err = a.Preview(w.Context(), t, with); err == nil || !apierrors.IsForbidden(err) {
			break
		}
	}
	w.must(err)
	return incident.Step{Action: a.Name(), With: with, Preview: &p}
}

// intercepted is a config whose requests pass through f first.
func intercepted(config *rest.Config, f func(next http.RoundTripper, r *http.Request) (*http.Response, error)) *rest.Config {
	config = rest.CopyConfig(config)
	config.WrapTransport = func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) { return f(next, r) })
	}
	return config
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
