package app

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	client "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kmend/kmend/deploy/rbac"
	"github.com/kmend/kmend/internal/doctor"
	"github.com/kmend/kmend/test/apiserver"
)

// With the rights of deploy/rbac nothing is missing; without a file, the line names
// it, the right and what needs it. Nodes without an agent are named.
func TestDoctorOfCluster(t *testing.T) {
	var server apiserver.Server
	t.Cleanup(server.Stop)
	conf := server.Config(t)
	objects, err := rbac.Objects()
	must(t, err)
	var nodes []*unstructured.Unstructured // the files of nodes.yaml
	for _, o := range objects {
		if o.GetName() == "kmend-nodes" {
			nodes = append(nodes, o)
			continue
		}
		apiserver.Create(t, conf, o)
	}
	k, err := client.NewForConfig(conf)
	must(t, err)
	for _, name := range []string{"n1", "n2"} {
		_, err := k.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/os": "linux"}}}, metav1.CreateOptions{})
		must(t, err)
	}
	pod, err := k.CoreV1().Pods("kmend").Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "agent-1", Labels: map[string]string{"app": "agent"}},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "agent", Image: "agent"}}}}, metav1.CreateOptions{})
	must(t, err)
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1", Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	_, err = k.CoreV1().Pods("kmend").UpdateStatus(t.Context(), pod, metav1.UpdateOptions{})
	must(t, err)

	config := DefaultConfig()
	visit := func(c *rest.Config) func() []doctor.Line {
		t.Helper()
		checks, err := Laptop{Rest: rest.CopyConfig(c), Version: "test", Namespace: "kmend", Account: "kmend", Selector: "app=agent", Config: config}.Checks()
		must(t, err)
		return func() []doctor.Line { return doctor.Run(t.Context(), checks, nil) }
	}
	// The server heeds a binding some moments after it was made or removed.
	has := func(look func() []doctor.Line, name string, status doctor.Status, texts ...string) {
		t.Helper()
		var lines []doctor.Line
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			lines = look()
			for _, l := range lines {
				met := l.Name == name && l.Status == status
				for _, text := range texts {
					met = met && strings.Contains(l.Found+" "+l.Todo, text)
				}
				if met {
					return
				}
			}
		}
		t.Errorf("no line %s %s with %q in %+v", name, status, texts, lines)
	}
	lines := visit(conf)
	has(lines, "Kubernetes API", doctor.OK, "it answers (v1.")
	has(lines, "clock of the API server", doctor.OK)
	// What kmend may do is somebody's choice, whether it acts or not.
	has(lines, "rights of kmend", doctor.Off, "system:serviceaccount:kmend:kmend may not patch nodes, for kubernetes.cordon_node: such plans end as denied", "with the chart set actions.cordon_node: true; without it kubectl apply -f deploy/rbac/nodes.yaml")
	has(lines, "node n2", doctor.Todo, "no pod of an agent is there (namespace kmend, selector app=agent)")
	has(lines, "agents' pods", doctor.OK, "ready on 1 of 2 nodes")

	apiserver.Create(t, conf, nodes...)
	has(visit(conf), "rights of kmend", doctor.OK, "has all")

	// Bound in one namespace only, the actions' rights are missing elsewhere.
	bindings, err := k.RbacV1().ClusterRoleBindings().List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=kmend"})
	must(t, err)
	for _, b := range bindings.Items {
		switch b.Name {
		case "kmend-base", "kmend-watch":
			continue
		}
		must(t, k.RbacV1().ClusterRoleBindings().Delete(t.Context(), b.Name, metav1.DeleteOptions{}))
		if b.Name == "kmend-nodes" {
			continue // they are no namespace's
		}
		_, err := k.RbacV1().RoleBindings("default").Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: b.Name}, RoleRef: b.RoleRef, Subjects: b.Subjects}, metav1.CreateOptions{})
		must(t, err)
	}
	has(visit(conf), "rights of kmend", doctor.Off, "may not patch pods/resize, for kubernetes.resize_cpu", "kubernetes.namespaces")
	config.Kubernetes.Namespaces = []string{"default", "kube-public"}
	has(visit(conf), "rights of kmend", doctor.Off, "kmend may not patch pods/resize in namespace kube-public, for kubernetes.resize_cpu")
	config.Kubernetes.Namespaces = []string{"default"}
	has(visit(conf), "rights of kmend", doctor.OK, "has all")
	for _, b := range bindings.Items {
		b.ResourceVersion, b.UID = "", ""
		if _, err := k.RbacV1().ClusterRoleBindings().Create(t.Context(), &b, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}

	// kmend itself may not ask for another's rights, and asks for its own.
	own := rest.CopyConfig(conf)
	own.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:kmend:kmend", Groups: []string{"system:serviceaccounts", "system:authenticated"}}
	has(visit(own), "rights of kmend", doctor.Off, "you may not ask for another's rights")
	itself, err := client.NewForConfig(own)
	must(t, err)
	steps, err := DefaultConfig().steps()
	must(t, err)
	asked := func() []doctor.Line {
		return doctor.Run(t.Context(), []doctor.Check{examiner{config: DefaultConfig(), steps: steps}.rights(itself)}, nil)
	}
	has(asked, "API rights", doctor.OK, "kmend has all")
	must(t, k.RbacV1().ClusterRoleBindings().Delete(t.Context(), "kmend-base", metav1.DeleteOptions{}))
	has(asked, "API rights", doctor.Todo, "with the chart run helm upgrade again", "without it kubectl apply -f deploy/rbac/base.yaml", "every plan")
}
