package workloads

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
)

// A pod takes about 1 KB, indexes included: 50,000 of them are some 50 MB. As one of
// the API's own types it took three times as much.
func TestMemoryOfAPod(t *testing.T) {
	const pods, most = 5000, 1200
	o := DefaultOptions()
	o.Client = fake.NewClientset()
	w, err := New(o)
	must(t, err)
	store := w.pods.GetIndexer()
	before := heap()
	for i := range pods {
		kept, err := trim(decoded(i))
		must(t, err)
		must(t, store.Add(kept))
	}
	each := (heap() - before) / pods
	t.Logf("%d bytes a pod", each)
	if each > most {
		t.Errorf("a pod takes %d bytes, want at most %d", each, most)
	}
	if got := in[*pod](w.pods, "team-0007"); len(got) != 200 {
		t.Errorf("%d pods in a namespace, want 200", len(got))
	}
	runtime.KeepAlive(w)
}

// heap is what is in use.
func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// decoded is a pod as it comes from the API: no string is another pod's.
func decoded(i int) *corev1.Pod {
	yes, c := true, strings.Clone
	app, ip := fmt.Sprintf("shop-%05d", i/10), fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-6d5f7b9c4-%05d", app, i), Namespace: fmt.Sprintf("team-%04d", i/200), UID: types.UID(fmt.Sprintf("%036d", i)), ResourceVersion: fmt.Sprint(1000000 + i),
			Labels:          map[string]string{c("app"): c(app), c("pod-template-hash"): c("6d5f7b9c4"), c("app.kubernetes.io/part-of"): c("shops"), c("app.kubernetes.io/version"): c("1.2.3")},
			OwnerReferences: []metav1.OwnerReference{{Kind: c("ReplicaSet"), Name: app + "-6d5f7b9c4", Controller: &yes}}},
		Spec:   corev1.PodSpec{NodeName: fmt.Sprintf("node-%05d", i%500), Containers: []corev1.Container{{Name: c("app")}}},
		Status: corev1.PodStatus{Phase: corev1.PodPhase(c("Running")), PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}},
	}
}
