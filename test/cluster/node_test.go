package cluster

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The node is real: the kernel throttles a pod at its limit, and stops when the
// limit is raised live, without a restart.
func TestThrottleAndResize(t *testing.T) {
	pod := node.Run(t, Burn{Name: "burn", Limit: "200m"})
	expectThrottled(t, pod, 0.2)
	patch := []byte(`{"spec":{"containers":[{"name":"burn","resources":{"limits":{"cpu":"1500m"}}}]}}`)
	if _, err := node.Client().CoreV1().Pods("default").Patch(t.Context(), "burn", types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "resize"); err != nil {
		t.Fatal(err)
	}
	waitForQuota(t, pod, 1.5)
	after := node.Throttling(t, pod)
	t.Log("after:", after)
	if after.Throttled > 0 {
		t.Errorf("one busy thread with a limit of 1.5 CPU: %s", after)
	}
	expectNoRestart(t, pod)
}

// expectThrottled waits for a second in which the pod was throttled in half of the
// periods. A pod that gets little CPU because others use it is not throttled,
// so a busy machine may need more than one try.
func expectThrottled(t *testing.T, pod *corev1.Pod, quota float64) {
	t.Helper()
	var s CPUStat
	for range 20 {
		if s = node.Throttling(t, pod); s.Quota == quota && s.Throttled >= 5 {
			t.Log("throttled:", s)
			return
		}
	}
	t.Fatalf("a busy pod with a limit of %g CPU was throttled in half of the periods in no second of 20; the last: %s", quota, s)
}

func waitForQuota(t *testing.T, pod *corev1.Pod, want float64) {
	t.Helper()
	began := time.Now()
	for {
		s, err := node.CPUStat(pod)
		if err != nil {
			t.Fatal(err)
		}
		if s.Quota == want {
			t.Logf("the kernel had the quota of %g CPU after %d ms", want, time.Since(began).Milliseconds())
			return
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("the quota is %g CPU after 20 s, want %g", s.Quota, want)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// expectNoRestart checks that the container of pod is still the one it was.
func expectNoRestart(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	now, err := node.Client().CoreV1().Pods(pod.Namespace).Get(t.Context(), pod.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	was, is := pod.Status.ContainerStatuses[0], now.Status.ContainerStatuses[0]
	if is.RestartCount != 0 || is.ContainerID != was.ContainerID || now.UID != pod.UID {
		t.Errorf("restarted: was %s, is %s with %d restarts", was.ContainerID, is.ContainerID, is.RestartCount)
	}
}
