package workloads

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kmend/kmend/deploy/rbac"
	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/apiserver"
)

var server apiserver.Server

func TestMain(m *testing.M) { server.Main(m) }

// shop is a namespace in a real API server. Nobody else is there: the test reports
// what kubelets and controllers would.
type shop struct {
	*testing.T
	admin kubernetes.Interface
	ns    string
}

func open(t *testing.T) *shop {
	t.Helper()
	admin, err := kubernetes.NewForConfig(server.Config(t))
	must(t, err)
	ns, err := admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "workloads-"}}, metav1.CreateOptions{})
	must(t, err)
	return &shop{t, admin, ns.Name}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *shop) meta(name, owner string, labels map[string]string) metav1.ObjectMeta {
	m := metav1.ObjectMeta{Namespace: s.ns, Name: name, Labels: labels}
	if kind, of, ok := strings.Cut(owner, "/"); ok {
		yes := true
		m.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Other", Name: "bystander", UID: "x"}, {APIVersion: "apps/v1", Kind: kind, Name: of, UID: "u", Controller: &yes}}
	}
	return m
}

func (s *shop) pod(name, owner, node, ip string, labels map[string]string) {
	s.Helper()
	p, err := s.admin.CoreV1().Pods(s.ns).Create(s.Context(), &corev1.Pod{ObjectMeta: s.meta(name, owner, labels),
		Spec: corev1.PodSpec{NodeName: node, HostNetwork: strings.HasPrefix(ip, "192."), Containers: []corev1.Container{{Name: "app", Image: "registry.test/app:1"}}}}, metav1.CreateOptions{})
	must(s.T, err)
	p.Status.Phase = corev1.PodRunning
	if ip == "" {
		p.Status.Phase = corev1.PodPending
	} else {
		p.Status.PodIP, p.Status.PodIPs = ip, []corev1.PodIP{{IP: ip}}
	}
	_, err = s.admin.CoreV1().Pods(s.ns).UpdateStatus(s.Context(), p, metav1.UpdateOptions{})
	must(s.T, err)
}

func (s *shop) service(name, ip string, selector map[string]string) {
	s.Helper()
	_, err := s.admin.CoreV1().Services(s.ns).Create(s.Context(), &corev1.Service{ObjectMeta: s.meta(name, "", nil),
		Spec: corev1.ServiceSpec{ClusterIP: ip, Selector: selector, Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
	must(s.T, err)
}

// restricted are the clients' configuration of a user with the rights of watch.yaml,
// but for some; used are those that were used. An old API server does not stream what
// is there to who watches: it is listed.
func (s *shop) restricted(but string, old bool) (_ *rest.Config, used func() map[string]bool) {
	s.Helper()
	grants, err := rbac.Grants()
	must(s.T, err)
	role := rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%s-%v", s.ns, but, old)}}
	for _, g := range grants {
		if g.File == "deploy/rbac/watch.yaml" && g.Resource != but {
			role.Rules = append(role.Rules, g.Rule())
		}
	}
	_, err = s.admin.RbacV1().ClusterRoles().Create(s.Context(), &role, metav1.CreateOptions{})
	must(s.T, err)
	_, err = s.admin.RbacV1().ClusterRoleBindings().Create(s.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: role.ObjectMeta,
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: role.Name}}}, metav1.CreateOptions{})
	must(s.T, err)
	config := server.Config(s.T)
	config.Impersonate = rest.ImpersonationConfig{UserName: role.Name}
	var mu sync.Mutex
	rights := map[string]bool{}
	config.WrapTransport = func(next http.RoundTripper) http.RoundTripper {
		return through(func(r *http.Request) (*http.Response, error) {
			verb := "list"
			if r.URL.Query().Get("watch") != "" {
				verb = "watch"
			}
			mu.Lock()
			rights[verb+" "+r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]] = true
			mu.Unlock()
			if old && r.URL.Query().Get("sendInitialEvents") != "" {
				const no = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`
				return &http.Response{StatusCode: http.StatusUnprocessableEntity, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(no)), Request: r}, nil
			}
			return next.RoundTrip(r)
		})
	}
	return config, func() map[string]bool { mu.Lock(); defer mu.Unlock(); return maps.Clone(rights) }
}

type through func(*http.Request) (*http.Response, error)

func (f through) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// watch runs Workloads until the test ends, and sees that nothing of it remains.
func watch(t *testing.T, client kubernetes.Interface, patience time.Duration) *Workloads {
	t.Helper()
	o := DefaultOptions()
	o.Client, o.Cluster, o.Patience = client, "prod", patience
	w, err := New(o)
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return w
}

// until asks again until the answer is as wanted: what was just written takes a moment.
func until(t *testing.T, ask func() string, want string) {
	t.Helper()
	var got string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if got = ask(); got == want || strings.Contains(got, want) && strings.HasPrefix(got, "error: ") {
			return
		}
	}
	t.Errorf("answers %q, want %q", got, want)
}

// names writes the pods of an answer as NAME@NODE.
func names(pods []incident.Target, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	var all []string
	for _, p := range pods {
		all = append(all, strings.TrimSuffix(p.Pod+"@"+p.Node+"/"+p.Container, "/"))
	}
	return strings.Join(all, " ")
}

// With exactly the rights of watch.yaml, a real API server's pods are found by
// whatever an alert, a trace or a socket calls them.
func TestARealCluster(t *testing.T) {
	s := open(t)
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		goleak.VerifyNone(t, ignore, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"), goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*ClientConn).readLoop"))
	})
	for rs, of := range map[string]string{"cart-1": "Deployment/cart", "cart-2": "Deployment/cart", "alone": ""} {
		l := map[string]string{"a": "b"}
		_, err := s.admin.AppsV1().ReplicaSets(s.ns).Create(t.Context(), &appsv1.ReplicaSet{ObjectMeta: s.meta(rs, of, nil), Spec: appsv1.ReplicaSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: l}, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: l}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "a"}}}}}}, metav1.CreateOptions{})
		must(t, err)
	}
	_, err := s.admin.BatchV1().Jobs(s.ns).Create(t.Context(), &batchv1.Job{ObjectMeta: s.meta("bill-1", "CronJob/bill", nil), Spec: batchv1.JobSpec{
		Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "app", Image: "a"}}}}}}, metav1.CreateOptions{})
	must(t, err)
	cart := map[string]string{"app": "basket"}
	s.pod("cart-1-a", "ReplicaSet/cart-1", "n1", "10.0.0.1", cart)
	s.pod("cart-2-b", "ReplicaSet/cart-2", "n2", "10.0.0.2", cart)
	s.pod("cart-2-c", "ReplicaSet/cart-2", "n2", "", cart)
	s.pod("db-0", "StatefulSet/db", "n1", "10.0.0.3", nil)
	s.pod("bill-1-x", "Job/bill-1", "n1", "10.0.0.4", nil)
	s.pod("proxy-n1", "DaemonSet/proxy", "n1", "192.0.2.1", nil)
	s.pod("alone-x", "ReplicaSet/alone", "n1", "10.0.0.5", nil)
	s.service("basket", "10.96.7.7", cart)
	s.service("legacy", "10.96.7.8", nil)
	s.service("nobody", "10.96.7.9", map[string]string{"app": "nobody"})
	_, err = s.admin.DiscoveryV1().EndpointSlices(s.ns).Create(t.Context(), &discoveryv1.EndpointSlice{ObjectMeta: s.meta("legacy-1", "", map[string]string{discoveryv1.LabelServiceName: "legacy"}),
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.3"}}, {Addresses: []string{"10.0.0.9"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "alone-x"}}}}, metav1.CreateOptions{})
	must(t, err)
	config, used := s.restricted("", false)
	client, err := kubernetes.NewForConfig(config)
	must(t, err)
	w := watch(t, client, 20*time.Second)

	for _, tt := range []struct {
		name, want string
		t          incident.Target
	}{
		{"deployment", "cart-1-a@n1 cart-2-b@n2", incident.Target{Workload: "Deployment/cart"}},
		{"deployment on a node", "cart-2-b@n2/app", incident.Target{Workload: "Deployment/cart", Node: "N2", Container: "app"}},
		{"container of another pod", "cart-2-b@n2", incident.Target{Workload: "ReplicaSet/cart-2", Container: "exporter"}},
		{"statefulset", "db-0@n1", incident.Target{Workload: "StatefulSet/db"}},
		{"daemonset", "proxy-n1@n1", incident.Target{Workload: "DaemonSet/proxy"}},
		{"job", "bill-1-x@n1", incident.Target{Workload: "Job/bill-1"}},
		{"cronjob", "bill-1-x@n1", incident.Target{Workload: "CronJob/bill"}},
		{"service", "cart-1-a@n1 cart-2-b@n2", incident.Target{Service: "basket"}},
		{"service without selector", "alone-x@n1 db-0@n1", incident.Target{Service: "legacy"}},
		{"service without pods", "no pod of service " + s.ns + "/nobody runs; 0 are not running", incident.Target{Service: "nobody"}},
		{"none running there", "runs on node n9; 3 are not running", incident.Target{Workload: "Deployment/cart", Node: "n9"}},
		{"no service", "knows no service", incident.Target{Service: "cart"}},
		{"no such deployment", "no pod of deployment", incident.Target{Workload: "Deployment/db"}},
		{"neither", "neither a workload nor a service", incident.Target{Pod: "db-0"}},
	} {
		tt.t.Namespace = s.ns
		t.Run(tt.name, func(t *testing.T) { until(t, func() string { return names(w.Pods(t.Context(), tt.t)) }, tt.want) })
	}
	for ip, want := range map[string]string{"10.0.0.2": "cart-2-b@n2", "::ffff:10.0.0.2": "cart-2-b@n2", "10.96.7.7": "cart-1-a@n1 cart-2-b@n2", "10.96.7.8": "alone-x@n1 db-0@n1", "192.0.2.1": "", "8.8.8.8": ""} {
		until(t, func() string { return names(w.ByAddress(t.Context(), netip.MustParseAddr(ip))) }, want)
	}
	for name, want := range map[string]string{
		"basket": "cart-1-a@n1 cart-2-b@n2", "cart": "cart-1-a@n1 cart-2-b@n2", "basket." + s.ns + ".svc.cluster.local": "cart-1-a@n1 cart-2-b@n2",
		s.ns + "/bill": "bill-1-x@n1", "db": "db-0@n1", "nobody": "", "": "",
	} {
		until(t, func() string { return names(w.ByName(t.Context(), name, s.ns)) }, want)
	}
	id, err := w.Identify(t.Context(), incident.Target{Namespace: s.ns, Pod: "cart-1-a"})
	if got := fmt.Sprint(id, err); got != "{Deployment/cart [basket] basket} <nil>" {
		t.Errorf("cart-1-a is of %s", got)
	}
	id, err = w.Identify(t.Context(), incident.Target{Namespace: s.ns, Pod: "alone-x"})
	if got := fmt.Sprint(id, err); got != "{ReplicaSet/alone [] } <nil>" {
		t.Errorf("alone-x is of %s", got)
	}
	for pod, want := range map[string]string{"cart-1-a": "cart-1-a@n1 cart-2-b@n2", "db-0": "db-0@n1", "nobody": "error: pod " + s.ns + "/nobody belongs to no workload"} {
		until(t, func() string {
			return names(w.Siblings(t.Context(), incident.Target{Namespace: s.ns, Pod: pod, Node: "n1"}))
		}, want)
	}
	must(t, s.admin.CoreV1().Pods(s.ns).Delete(t.Context(), "cart-2-b", metav1.DeleteOptions{GracePeriodSeconds: new(int64)}))
	until(t, func() string { return names(w.Pods(t.Context(), incident.Target{Namespace: s.ns, Service: "basket"})) }, "cart-1-a@n1")

	grants, err := rbac.Grants()
	must(t, err)
	listing, usedToo := s.restricted("", true)
	client, err = kubernetes.NewForConfig(listing)
	must(t, err)
	w = watch(t, client, 20*time.Second)
	until(t, func() string {
		return names(w.Pods(t.Context(), incident.Target{Namespace: s.ns, Workload: "CronJob/bill"}))
	}, "bill-1-x@n1")
	until(t, func() string { return names(w.Pods(t.Context(), incident.Target{Namespace: s.ns, Service: "legacy"})) }, "alone-x@n1 db-0@n1")
	until(t, func() string {
		return names(w.Pods(t.Context(), incident.Target{Namespace: s.ns, Workload: "Deployment/cart"}))
	}, "cart-1-a@n1")
	rights := used()
	maps.Copy(rights, usedToo())
	for _, g := range grants {
		if g.File == "deploy/rbac/watch.yaml" && !rights[g.Verb+" "+g.Resource] {
			t.Errorf("%s grants %s %s, which nothing used", g.File, g.Verb, g.Resource)
		}
	}
}

// A right that is missing is the answer of who needs it, with the file that grants
// it; the others have theirs.
func TestWithoutARight(t *testing.T) {
	s := open(t)
	s.pod("db-0", "StatefulSet/db", "n1", "10.0.1.3", nil)
	config, _ := s.restricted("replicasets", true)
	client, err := kubernetes.NewForConfig(config)
	must(t, err)
	w := watch(t, client, time.Minute) // nobody waits for what is refused
	until(t, func() string {
		return names(w.Pods(t.Context(), incident.Target{Namespace: s.ns, Workload: "StatefulSet/db"}))
	}, "db-0@n1")
	asked := time.Now()
	defer func() {
		if took := time.Since(asked); took > 30*time.Second {
			t.Errorf("the answer took %s", took)
		}
	}()
	until(t, func() string {
		return names(w.Pods(t.Context(), incident.Target{Namespace: s.ns, Workload: "Deployment/cart"}))
	},
		"error: the Kubernetes API does not let kmend list and watch replicasets (Forbidden); deploy/rbac/watch.yaml grants it: with the chart run helm upgrade again, which grants it; without it kubectl apply -f deploy/rbac/watch.yaml")
}

// What is kept of a pod does not grow with what nobody asks for.
func TestTrim(t *testing.T) {
	big := strings.Repeat("x", 100<<10)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Annotations: map[string]string{"note": big, mirrorUID: "m"}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: big}}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Env: []corev1.EnvVar{{Name: "A", Value: big}}}}}, Status: corev1.PodStatus{Message: big}}
	o, err := trim(p)
	must(t, err)
	kept, ok := o.(*pod)
	if !ok || kept.uid != "m" || len(kept.containers) != 1 || kept.containers[0] != "app" || strings.Contains(fmt.Sprintf("%+v", kept), "xxx") {
		t.Errorf("keeps %.500s", fmt.Sprintf("%+v", o))
	}
	again, err := trim(o)
	if err != nil || again != o {
		t.Errorf("what is trimmed becomes %v, %v", again, err)
	}
}

// A name that several namespaces have means none of them, but the one that is near.
func TestNamesInSeveralNamespaces(t *testing.T) {
	a, b := incident.Target{Namespace: "a", Pod: "x"}, incident.Target{Namespace: "b", Pod: "x"}
	for near, want := range map[string]string{"a": "x@", "c": ""} {
		if got := names(oneNamespace([]incident.Target{a, b}, near), nil); got != want {
			t.Errorf("near %s: %q, want %q", near, got, want)
		}
	}
	if got := oneNamespace([]incident.Target{b}, "c"); len(got) != 1 {
		t.Errorf("in one namespace: %v", got)
	}
}
