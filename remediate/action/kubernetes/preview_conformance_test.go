package kubernetes_test

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
