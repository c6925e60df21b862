package kubernetes_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	client "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/kmend/kmend/remediate/action/kubernetes"
)

// What the API server says no to is known before anybody is asked to approve.
func TestDryRunAsksTheServer(t *testing.T) {
	w := newWorld(t, "4")
	w.pod("web", []corev1.Container{burstable("100m", "200m")})
	_, err := w.admin.CoreV1().LimitRanges(w.namespace).Create(t.Context(), &corev1.LimitRange{
		ObjectMeta: metav1.ObjectMeta{Name: "small"},
		Spec:       corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{Type: corev1.LimitTypeContainer, Max: list("300m", "")}}},
	}, metav1.CreateOptions{})
	w.must(err)
	a := w.resizer(time.Second)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err = a.Preview(t.Context(), w.target("web"), double); err != nil || time.Now().After(deadline) {
			break // the API server's own cache of limit ranges lags
		}
	}
	w.refusal(err, "maximum cpu usage per Container is 300m, but limit is 400m")
	w.is("cpu", w.cpu("web"), "200m 100m")
}

func TestRights(t *testing.T) {
	w := newWorld(t, "4")
	pod := w.pod("web", []corev1.Container{burstable("100m", "200m")})
	w.kubelet("web", resized)
	b, err := os.ReadFile("rbac.yaml")
	w.must(err)
	var role rbacv1.ClusterRole
	w.must(yaml.UnmarshalStrict(b, &role))
	role.Name = w.namespace
	rbac := w.admin.RbacV1()
	_, err = rbac.ClusterRoles().Create(t.Context(), &role, metav1.CreateOptions{})
	w.must(err)
	user := "kmend-test-" + w.namespace
	_, err = rbac.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: w.namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
	}, metav1.CreateOptions{})
	w.must(err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = rbac.ClusterRoleBindings().Delete(ctx, w.namespace, metav1.DeleteOptions{})
		_ = rbac.ClusterRoles().Delete(ctx, w.namespace, metav1.DeleteOptions{})
	})
	as := func(user string) *kubernetes.ResizeCPU {
		config := cluster(t)
		config.Impersonate = rest.ImpersonationConfig{UserName: user}
		c, err := client.NewForConfig(config)
		w.must(err)
		a, err := kubernetes.NewResizeCPU(c, kubernetes.Options{Wait: 10 * time.Second, Poll: 20 * time.Millisecond})
		w.must(err)
		return a
	}
	a, target := as(user), w.target("web")
	var previewErr error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if _, previewErr = a.Preview(t.Context(), target, double); previewErr == nil {
			break // the authorizer's cache has the new role
		}
	}
	w.must(previewErr)
	step := w.preview(a, target, double)
	done, err := a.Apply(t.Context(), target, step)
	w.must(err)
	if done.State["event"] != "" {
		t.Errorf("the event was %s", done.State["event"])
	}
	_, err = a.Undo(t.Context(), target, step, done)
	w.must(err)
	if n := len(w.events(pod)); n != 2 {
		t.Errorf("%d events, want 2", n)
	}

	// Without the right to resize the preview says so already.
	role.Rules = append(role.Rules[:1:1], role.Rules[2:]...)
	_, err = rbac.ClusterRoles().Update(t.Context(), &role, metav1.UpdateOptions{})
	w.must(err)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if _, err = a.Preview(t.Context(), target, double); err != nil {
			break
		}
	}
	w.refusal(err, `cannot patch resource "pods/resize" in API group ""`)
}

func TestWarnings(t *testing.T) {
	w := newWorld(t, "4")
	labels := map[string]string{"app": "web"}
	d, err := w.admin.AppsV1().Deployments(w.namespace).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{"argocd.argoproj.io/tracking-id": "x"}},
		Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Replicas: new(int32), Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{burstable("100m", "200m")}}}},
	}, metav1.CreateOptions{})
	w.must(err)
	_, err = w.admin.AutoscalingV2().HorizontalPodAutoscalers(w.namespace).Create(t.Context(), &autoscaling.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "scaler"},
		Spec:       autoscaling.HorizontalPodAutoscalerSpec{ScaleTargetRef: autoscaling.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}, MaxReplicas: 3},
	}, metav1.CreateOptions{})
	w.must(err)
	yes := true
	w.pod("web-5d9-abc", []corev1.Container{burstable("100m", "200m")}, func(p *corev1.Pod) {
		p.Labels = map[string]string{"app": "web", "pod-template-hash": "5d9"}
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-5d9", UID: d.UID, Controller: &yes}}
	})
	step := w.preview(w.resizer(time.Second), w.target("web-5d9-abc"), double)
	w.is("summary", step.Preview.Summary, "raise the CPU limit of container app in pod "+w.namespace+"/web-5d9-abc from 0.2 to 0.4 CPU in place"+
		"; lasts as long as this pod: the template of Deployment web keeps the old limit"+
		"; managed by Argo CD: change the limit there too"+
		"; HorizontalPodAutoscaler scaler scales Deployment web and may answer to the change")
}

func TestPreviewRefusals(t *testing.T) {
	w := newWorld(t, "1")
	w.pod("web", []corev1.Container{burstable("100m", "200m")})
	w.pod("full", []corev1.Container{burstable("100m", "1")})
	a := w.resizer(time.Second)
	for name, c := range map[string]struct {
		target string
		with   map[string]any
		want   string
	}{
		"no such pod":  {"nothing", double, `pods "nothing" not found`},
		"no max":       {"web", nil, "with.max is missing"},
		"factor":       {"web", map[string]any{"factor": 1, "max": 1}, "with.factor: 1 is out of bounds"},
		"unknown":      {"web", map[string]any{"cpus": 1}, "with.cpus: unknown parameter; allowed: allowRestart, factor, max"},
		"at the max":   {"web", map[string]any{"max": "200m"}, "nothing to raise: the limit is 0.2 CPU and the runbook's max is 0.2 CPU"},
		"all the node": {"full", double, "nothing to raise: the limit is 1 CPU and the node has 0.8 CPU left over the 0.1 CPU that the container requests"},
	} {
		_, err := a.Preview(t.Context(), w.target(c.target), c.with)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	_, err := a.Preview(t.Context(), w.target(""), double)
	w.refusal(err, "names no pod with its namespace")
	w.report("web", refused("Deferred", "later"))
	_, err = a.Preview(t.Context(), w.target("web"), double)
	w.refusal(err, "has a resize that is not finished (PodResizePending: Deferred: later)")
}
