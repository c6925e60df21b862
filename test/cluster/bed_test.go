package cluster

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate"
	action "github.com/kmend/kmend/remediate/action/kubernetes"
)

// bed is a namespace of the real node, and kmend's executor with the rights of deploy/rbac.
type bed struct {
	*testing.T
	*remediate.Executor
	namespace string
	config    *rest.Config // kmend's
	admin     kubernetes.Interface
}

func newBed(t *testing.T) *bed {
	t.Helper()
	node.Need(t)
	config, err := clientcmd.BuildConfigFromFlags("", grant(t))
	b := &bed{T: t, config: config, admin: node.Client()}
	b.must(err)
	b.Executor = b.executor(config)
	ns, err := b.admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "bed-"}}, metav1.CreateOptions{})
	b.must(err)
	b.namespace = ns.Name
	t.Cleanup(func() { // all of it: the next test may drain the node
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err := b.admin.CoreV1().Namespaces().Delete(ctx, b.namespace, metav1.DeleteOptions{})
		for ; err == nil; time.Sleep(100 * time.Millisecond) {
			_, err = b.admin.CoreV1().Namespaces().Get(ctx, b.namespace, metav1.GetOptions{})
		}
		if !apierrors.IsNotFound(err) {
			t.Errorf("removing namespace %s: %v", b.namespace, err)
		}
	})
	b.eventually("the namespace has its service account", func() bool {
		_, err := b.admin.CoreV1().ServiceAccounts(b.namespace).Get(t.Context(), "default", metav1.GetOptions{})
		return err == nil
	})
	return b
}

// executor is kmend's for the API server of config.
func (b *bed) executor(config *rest.Config) *remediate.Executor {
	b.Helper()
	config = rest.CopyConfig(config)
	config.QPS = -1
	c, err := kubernetes.NewForConfig(config)
	b.must(err)
	d, err := dynamic.NewForConfig(config)
	b.must(err)
	actions, err := action.Actions(c, d, action.Options{Request: 2 * time.Second})
	b.must(err)
	e, err := remediate.New(actions...)
	b.must(err)
	return e
}

func (b *bed) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bed) is(what string, got, want any) {
	b.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		b.Errorf("%s is %q, want %q", what, fmt.Sprint(got), fmt.Sprint(want))
	}
}

func (b *bed) says(err error, wants ...string) {
	b.Helper()
	for _, want := range wants {
		if err == nil || !strings.Contains(err.Error(), want) {
			b.Errorf("error %v, want %q", err, want)
		}
	}
}

func (b *bed) eventually(what string, is func() bool) {
	b.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("not so after a minute: %s", what)
		}
	}
}

// plan previews one step on the target.
func (b *bed) plan(t incident.Target, action string, with map[string]any) incident.Plan {
	b.Helper()
	p, err := b.Preview(b.Context(), incident.Plan{Target: t, Steps: []incident.Step{{Action: action, With: with}}})
	b.must(err)
	b.Log(p.Steps[0].Preview.Summary)
	return p
}

// applied applies the plan's step.
func (b *bed) applied(p incident.Plan) incident.Execution {
	b.Helper()
	began := time.Now()
	x, err := b.Apply(b.Context(), p, 0)
	b.must(err)
	b.Logf("applied in %.1f s", time.Since(began).Seconds())
	b.is("result", x.Result+x.State["event"], "applied")
	return x
}

func (b *bed) undone(p incident.Plan, x incident.Execution) {
	b.Helper()
	back, err := b.Undo(b.Context(), p, x)
	b.must(err)
	b.is("result", back.Result+back.State["event"], "undone")
}

// idle are pods app=NAME that do next to nothing.
func idle(name string) corev1.PodTemplateSpec {
	p := Burn{Name: "app", Request: "10m", Limit: "200m", Work: time.Millisecond, Pause: time.Second}.pod()
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}}, Spec: p.Spec}
}

// deployment creates one of n pods and waits until they are available.
func (b *bed) deployment(name string, n int32, change ...func(*corev1.PodTemplateSpec)) {
	b.Helper()
	template := idle(name)
	for _, f := range change {
		f(&template)
	}
	_, err := b.admin.AppsV1().Deployments(b.namespace).Create(b.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{Replicas: &n, Selector: selecting(name), Template: template}}, metav1.CreateOptions{})
	b.must(err)
	b.available(name, n)
}

// available waits until the pods of a Deployment are.
func (b *bed) available(name string, n int32) {
	b.Helper()
	b.eventually(fmt.Sprintf("%d pods of %s are available", n, name), func() bool {
		d, err := b.admin.AppsV1().Deployments(b.namespace).Get(b.Context(), name, metav1.GetOptions{})
		return err == nil && d.Status.ObservedGeneration == d.Generation && d.Status.AvailableReplicas == n && d.Status.Replicas == n
	})
}

func (b *bed) statefulSet(name string, n int32) {
	b.Helper()
	_, err := b.admin.AppsV1().StatefulSets(b.namespace).Create(b.Context(), &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.StatefulSetSpec{Replicas: &n, ServiceName: name, Selector: selecting(name), Template: idle(name)}}, metav1.CreateOptions{})
	b.must(err)
	b.ready(name, int(n))
}

func (b *bed) daemonSet(name string) {
	b.Helper()
	_, err := b.admin.AppsV1().DaemonSets(b.namespace).Create(b.Context(), &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DaemonSetSpec{Selector: selecting(name), Template: idle(name)}}, metav1.CreateOptions{})
	b.must(err)
	b.ready(name, 1)
}

func selecting(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
}

// ready waits until n pods with app=NAME are ready and no other is there.
func (b *bed) ready(name string, n int) {
	b.Helper()
	b.eventually(fmt.Sprintf("%d pods of %s are ready", n, name), func() bool {
		ready := 0
		all := b.pods(name)
		for _, p := range all {
			for _, c := range p.Status.Conditions {
				if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
					ready++
				}
			}
		}
		return ready == n && len(all) == n
	})
}

// pods are those with app=NAME, whatever their state.
func (b *bed) pods(name string) []corev1.Pod {
	b.Helper()
	l, err := b.admin.CoreV1().Pods(b.namespace).List(b.Context(), metav1.ListOptions{LabelSelector: "app=" + name})
	b.must(err)
	return l.Items
}

// target is a pod with app=NAME.
func (b *bed) target(name string) incident.Target {
	b.Helper()
	all := b.pods(name)
	if len(all) == 0 {
		b.Fatalf("there is no pod of %s", name)
	}
	return incident.Target{Namespace: b.namespace, Pod: all[0].Name, PodUID: string(all[0].UID), Container: "app"}
}

func (b *bed) pod(t incident.Target) *corev1.Pod {
	b.Helper()
	p, err := b.admin.CoreV1().Pods(t.Namespace).Get(b.Context(), t.Pod, metav1.GetOptions{})
	b.must(err)
	return p
}
