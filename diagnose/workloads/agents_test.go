package workloads

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Every node that has pods is known, and an agent counts where it is ready, of the
// right namespace and the right labels.
func TestAgents(t *testing.T) {
	s := open(t)
	agents := map[string]string{"app": "kmend-agent"}
	s.pod("agent-1", "DaemonSet/agent", "n1", "10.1.0.1", agents)
	s.pod("agent-2", "DaemonSet/agent", "n2", "10.1.0.2", agents)
	s.pod("agent-3", "DaemonSet/agent", "n3", "", agents)
	s.pod("web-1", "", "n1", "10.1.0.11", nil)
	s.pod("web-2", "", "n4", "10.1.0.14", nil)
	s.pod("done", "", "n5", "10.1.0.15", nil)
	s.pod("other", "", "n4", "10.1.0.16", map[string]string{"app": "kmend-agent2"})
	elsewhere := open(t)
	elsewhere.pod("agent-4", "DaemonSet/agent", "n4", "10.1.0.17", agents)
	change := func(name string, change func(*corev1.PodStatus)) {
		t.Helper()
		p, err := s.admin.CoreV1().Pods(s.ns).Get(t.Context(), name, metav1.GetOptions{})
		must(t, err)
		change(&p.Status)
		_, err = s.admin.CoreV1().Pods(s.ns).UpdateStatus(t.Context(), p, metav1.UpdateOptions{})
		must(t, err)
	}
	unready := func(st *corev1.PodStatus) {
		st.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}
	}
	change("done", func(st *corev1.PodStatus) { st.Phase = corev1.PodSucceeded })
	change("agent-2", unready)
	change("agent-1", func(st *corev1.PodStatus) {
		st.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	})
	config, _ := s.restricted("", false)
	client, err := kubernetes.NewForConfig(config)
	must(t, err)
	w := watch(t, client, 20*time.Second)
	of := func() string {
		got, err := w.Agents(t.Context(), s.ns, "app=kmend-agent")
		if err != nil {
			return "error: " + err.Error()
		}
		text := ""
		for _, n := range []string{"n1", "n2", "n3", "n4", "n5"} { // other tests' pods are on some of them
			if ip, there := got[n]; there {
				text += fmt.Sprintf("%s=%s ", n, ip)
			}
		}
		return text
	}
	until(t, of, "n1=10.1.0.1 n2= n3= n4= ")
	change("agent-2", func(st *corev1.PodStatus) { st.Conditions[0].Status = corev1.ConditionTrue })
	until(t, of, "n1=10.1.0.1 n2=10.1.0.2 n3= n4= ")
	if _, err := w.Agents(t.Context(), s.ns, "app=="+"=x"); err == nil {
		t.Error("a broken selector is taken")
	}
}
