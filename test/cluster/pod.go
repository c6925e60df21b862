package cluster

import (
	"cmp"
	"context"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Burn describes a pod with one container that keeps threads busy.
type Burn struct {
	Name      string // of the pod and of its container
	Namespace string // default "default"
	Threads   int    // default 1
	// Work and Pause: each thread takes Work of CPU time, then sleeps for Pause,
	// and so on. Zero: always busy.
	Work, Pause time.Duration
	Request     string // CPU request, default "50m"
	Limit       string // CPU limit, e.g. "200m"; empty: none
}

// Run makes the pod, waits until it runs and removes it when the test ends.
func (n *Node) Run(t testing.TB, b Burn) *corev1.Pod {
	t.Helper()
	n.Need(t)
	pods := n.client.CoreV1().Pods(cmp.Or(b.Namespace, corev1.NamespaceDefault))
	_, err := pods.Create(t.Context(), b.pod(), metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("making pod %s: %v", b.Name, err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		now := int64(0)
		if err := pods.Delete(ctx, b.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
			t.Errorf("removing pod %s: %v", b.Name, err)
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		pod, err := pods.Get(t.Context(), b.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatalf("waiting for pod %s: %v", b.Name, err)
		}
		if s := pod.Status.ContainerStatuses; len(s) == 1 && s[0].State.Running != nil {
			return pod
		}
		if time.Now().After(deadline) {
			t.Fatalf("pod %s does not run after 30 s: %+v", b.Name, pod.Status)
		}
	}
}

func (b Burn) pod() *corev1.Pod {
	limits := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}
	if b.Limit != "" {
		limits[corev1.ResourceCPU] = resource.MustParse(b.Limit)
	}
	grace, links := int64(0), false
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: b.Name, Labels: map[string]string{"app": b.Name}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			EnableServiceLinks:            &links,
			Containers: []corev1.Container{{
				Name: b.Name, Image: BurnImage, ImagePullPolicy: corev1.PullNever,
				Env: []corev1.EnvVar{
					{Name: "BURN_THREADS", Value: strconv.Itoa(max(1, b.Threads))},
					{Name: "BURN_WORK", Value: b.Work.String()},
					{Name: "BURN_PAUSE", Value: b.Pause.String()},
				},
				Resources: corev1.ResourceRequirements{Limits: limits, Requests: corev1.ResourceList{
					corev1.ResourceCPU:    resource.MustParse(cmp.Or(b.Request, "50m")),
					corev1.ResourceMemory: resource.MustParse("32Mi")}},
				ResizePolicy: []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceCPU, RestartPolicy: corev1.NotRequired}},
			}},
		},
	}
}
