package guard_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	client "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kmend/kmend/deploy/rbac"
	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/guard"
	"github.com/kmend/kmend/internal/store"
	"github.com/kmend/kmend/policies"
	"github.com/kmend/kmend/test/apiserver"
)

func TestMain(m *testing.M) { server.Main(m) }

var server apiserver.Server

// shop is a namespace of its own in a real API server, with a Deployment of three
// pods on two nodes of two zones. Nobody else is there: the test reports what
// kubelets and controllers would.
type shop struct {
	*testing.T
	admin client.Interface
	guard client.Interface // with the rights of deploy/rbac/base.yaml
	ns    string
}

func newShop(t *testing.T) *shop {
	t.Helper()
	config := server.Config(t)
	admin, err := client.NewForConfig(config)
	must(t, err)
	s := &shop{T: t, admin: admin}
	ns, err := admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "shop-"}}, metav1.CreateOptions{})
	must(t, err)
	s.ns = ns.Name
	s.guard = s.restricted(config)
	for i, zone := range []string{"a", "b"} {
		n, err := admin.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: s.node(i), Labels: map[string]string{corev1.LabelTopologyZone: s.ns + zone}}}, metav1.CreateOptions{})
		must(t, err)
		n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi")}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		_, err = admin.CoreV1().Nodes().UpdateStatus(t.Context(), n, metav1.UpdateOptions{})
		must(t, err)
	}
	labels := map[string]string{"app": "web"}
	three := int32(3)
	d, err := admin.AppsV1().Deployments(s.ns).Create(t.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{
		Replicas: &three, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "registry.test/app:1"}}}},
	}}, metav1.CreateOptions{})
	must(t, err)
	s.rollout(d.Generation, 3, 3)
	for i := range 3 {
		s.pod(fmt.Sprintf("web-%d", i), s.node(i%2), true)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		now := metav1.DeleteOptions{GracePeriodSeconds: new(int64)}
		_ = admin.CoreV1().Pods(s.ns).DeleteCollection(ctx, now, metav1.ListOptions{})
		for i := range 2 {
			_ = admin.CoreV1().Nodes().Delete(ctx, s.node(i), now)
		}
	})
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *shop) node(i int) string { return fmt.Sprintf("%s-node-%d", s.ns, i) }

// restricted is a client with the rights of base.yaml and pause.yaml in
// deploy/rbac and no others.
func (s *shop) restricted(config *rest.Config) client.Interface {
	s.Helper()
	grants, err := rbac.Grants()
	must(s.T, err)
	var role rbacv1.ClusterRole
	for _, g := range grants {
		if g.File == "deploy/rbac/base.yaml" || g.File == "deploy/rbac/pause.yaml" {
			role.Rules = append(role.Rules, g.Rule())
		}
	}
	role.Name = s.ns
	_, err = s.admin.RbacV1().ClusterRoles().Create(s.Context(), &role, metav1.CreateOptions{})
	must(s.T, err)
	_, err = s.admin.RbacV1().ClusterRoleBindings().Create(s.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: s.ns},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: s.ns},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: s.ns}}}, metav1.CreateOptions{})
	must(s.T, err)
	config.Impersonate = rest.ImpersonationConfig{UserName: s.ns}
	c, err := client.NewForConfig(config)
	must(s.T, err)
	return c
}

// rollout reports how far the Deployment's controller has come.
func (s *shop) rollout(observed int64, ready, updated int32) {
	s.Helper()
	d, err := s.admin.AppsV1().Deployments(s.ns).Get(s.Context(), "web", metav1.GetOptions{})
	must(s.T, err)
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: observed, Replicas: 3, ReadyReplicas: ready, UpdatedReplicas: updated}
	_, err = s.admin.AppsV1().Deployments(s.ns).UpdateStatus(s.Context(), d, metav1.UpdateOptions{})
	must(s.T, err)
}

func (s *shop) pod(name, node string, ready bool) {
	s.Helper()
	yes := true
	p, err := s.admin.CoreV1().Pods(s.ns).Create(s.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "web", "pod-template-hash": "abc"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-abc", UID: "u", Controller: &yes}}},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "app", Image: "registry.test/app:1",
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("1Gi")}}}}},
	}, metav1.CreateOptions{})
	must(s.T, err)
	p.Status.Phase = corev1.PodRunning
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	_, err = s.admin.CoreV1().Pods(s.ns).UpdateStatus(s.Context(), p, metav1.UpdateOptions{})
	must(s.T, err)
}

// annotation is the patch that sets the annotation that keeps kmend away.
func annotation(value string) []byte {
	return fmt.Appendf(nil, `{"metadata":{"annotations":{"%s":%q}}}`, guard.OptOut, value)
}

// nothing is a history in which kmend did nothing.
type nothing struct{}

func (nothing) Runs(context.Context, time.Time) ([]store.Run, error) { return nil, nil }

// facts gathers them for a plan on a target with policies that count everything.
func (s *shop) facts(t incident.Target) policies.Facts {
	s.Helper()
	set, err := policies.Load([]string{"testdata/everything.yaml"})
	must(s.T, err)
	g, err := guard.New(guard.Options{Policies: set, History: nothing{}, Cluster: guard.NewCluster(s.guard)})
	must(s.T, err)
	return g.Facts(s.Context(), incident.Incident{Target: t}, incident.Plan{Target: t, Steps: []incident.Step{{Preview: &incident.Preview{Adds: map[string]float64{"cpu": 1}}}}})
}

func (s *shop) web0() incident.Target { return incident.Target{Namespace: s.ns, Pod: "web-0"} }

func TestPod(t *testing.T) {
	s := newShop(t)
	f := s.facts(s.web0())
	if len(f.Missing) > 0 {
		t.Fatalf("missing %v", f.Missing)
	}
	want := incident.Scope{Target: s.web0().Key(), Owner: s.ns + "/Deployment/web", Namespace: s.ns, Node: s.node(0), Zone: s.ns + "a"}
	if f.Scope != want {
		t.Errorf("scope %+v, want %+v", f.Scope, want)
	}
	delete(f.Cluster.Extents, "cluster") // other tests have pods there
	found := policies.Cluster{
		Owner:   &policies.Owner{Extent: policies.Extent{Total: 3}, OthersReady: 2},
		Extents: map[string]policies.Extent{"namespace": {Total: 3}, "node": {Total: 2}, "zone": {Total: 2}},
		Room:    &policies.Room{CPU: 4, FreeCPU: 2, Memory: 8 << 30, FreeMemory: 6 << 30},
	}
	if !reflect.DeepEqual(*f.Cluster, found) {
		t.Errorf("found %+v, owner %+v, room %+v\nwant %+v", *f.Cluster, *f.Cluster.Owner, *f.Cluster.Room, found)
	}
}

// A rollout in flight, pods that are not ready, and a change that no controller
// has seen yet all count as disrupted.
func TestDisrupted(t *testing.T) {
	s := newShop(t)
	s.pod("sick", s.node(0), false)
	d, err := s.admin.AppsV1().Deployments(s.ns).Get(t.Context(), "web", metav1.GetOptions{})
	must(t, err)
	s.rollout(d.Generation, 3, 1)
	f := s.facts(s.web0())
	if o := f.Cluster.Owner; o.Disrupted != 2 || o.OthersReady != 2 {
		t.Errorf("in a rollout: %+v", *o)
	}
	if e := f.Cluster.Extents; e["namespace"] != (policies.Extent{Total: 4, Disrupted: 1}) || e["node"] != (policies.Extent{Total: 3, Disrupted: 1}) {
		t.Errorf("a pod that is not ready: %+v", e)
	}
	s.rollout(d.Generation-1, 3, 3)
	if o := s.facts(s.web0()).Cluster.Owner; o.Disrupted != 3 || o.OthersReady != 0 {
		t.Errorf("a status of before: %+v", *o)
	}
}

// What sets the same things: GitOps by labels and annotations, and an HPA.
func TestOwnership(t *testing.T) {
	s := newShop(t)
	_, err := s.admin.AppsV1().Deployments(s.ns).Patch(t.Context(), "web", types.MergePatchType,
		[]byte(`{"metadata":{"annotations":{"argocd.argoproj.io/tracking-id":"x"},"labels":{"kustomize.toolkit.fluxcd.io/name":"y"}}}`), metav1.PatchOptions{})
	must(t, err)
	_, err = s.admin.AutoscalingV2().HorizontalPodAutoscalers(s.ns).Create(t.Context(), &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}, MaxReplicas: 5}}, metav1.CreateOptions{})
	must(t, err)
	c := s.facts(s.web0()).Cluster
	if got := strings.Join(append(c.GitOps, c.HPA...), ", "); got != "Argo CD (Deployment web), Flux (Deployment web), HorizontalPodAutoscaler web" {
		t.Errorf("ownership %q", got)
	}
}

// The annotation counts on the pod, its workload, its namespace and its node.
func TestOptOut(t *testing.T) {
	for what, annotate := range map[string]func(s *shop, patch []byte) error{
		"pod ": func(s *shop, patch []byte) error {
			_, err := s.admin.CoreV1().Pods(s.ns).Patch(s.Context(), "web-0", types.MergePatchType, patch, metav1.PatchOptions{})
			return err
		},
		"Deployment ": func(s *shop, patch []byte) error {
			_, err := s.admin.AppsV1().Deployments(s.ns).Patch(s.Context(), "web", types.MergePatchType, patch, metav1.PatchOptions{})
			return err
		},
		"namespace ": func(s *shop, patch []byte) error {
			_, err := s.admin.CoreV1().Namespaces().Patch(s.Context(), s.ns, types.MergePatchType, patch, metav1.PatchOptions{})
			return err
		},
		"node ": func(s *shop, patch []byte) error {
			_, err := s.admin.CoreV1().Nodes().Patch(s.Context(), s.node(0), types.MergePatchType, patch, metav1.PatchOptions{})
			return err
		},
	} {
		t.Run(strings.TrimSpace(what), func(t *testing.T) {
			s := newShop(t)
			must(t, annotate(s, annotation("true")))
			if got := s.facts(s.web0()).Cluster.OptedOut; got != "" {
				t.Errorf("true keeps kmend away: %q", got)
			}
			must(t, annotate(s, annotation("false")))
			if got := s.facts(s.web0()).Cluster.OptedOut; !strings.HasPrefix(got, what+s.ns) || !strings.HasSuffix(got, `is annotated kmend.dev/remediate: "false"`) {
				t.Errorf("opted out %q", got)
			}
		})
	}
}

// Of a target that is a node, nodes are counted: cordoned ones are disrupted.
func TestNode(t *testing.T) {
	s := newShop(t)
	f := s.facts(incident.Target{Node: s.node(1)})
	if f.Cluster.Extents["zone"] != (policies.Extent{Total: 1}) || f.Scope.Zone != s.ns+"b" {
		t.Errorf("%+v, scope %+v", f.Cluster.Extents, f.Scope)
	}
	_, err := s.admin.CoreV1().Nodes().Patch(t.Context(), s.node(1), types.MergePatchType, []byte(`{"spec":{"unschedulable":true}}`), metav1.PatchOptions{})
	must(t, err)
	if f = s.facts(incident.Target{Node: s.node(1)}); f.Cluster.Extents["zone"] != (policies.Extent{Total: 1, Disrupted: 1}) {
		t.Errorf("cordoned: %+v", f.Cluster.Extents)
	}
}

// What may not be read, or is not there, is missing: no plan is allowed then.
func TestNotKnown(t *testing.T) {
	s := newShop(t)
	if f := s.facts(incident.Target{Namespace: s.ns, Pod: "gone"}); !strings.Contains(f.Missing["cluster"], "not found") || f.Cluster != nil {
		t.Errorf("a pod that is gone: %v", f.Missing)
	}
	role, err := s.admin.RbacV1().ClusterRoles().Get(t.Context(), s.ns, metav1.GetOptions{})
	must(t, err)
	for i := range role.Rules {
		role.Rules[i].Verbs = []string{"watch"}
	}
	_, err = s.admin.RbacV1().ClusterRoles().Update(t.Context(), role, metav1.UpdateOptions{})
	must(t, err)
	deadline := time.Now().Add(10 * time.Second) // the API server's own cache of rights
	for {
		f := s.facts(s.web0())
		if strings.Contains(f.Missing["cluster"], "forbidden") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("without rights: %v", f.Missing)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// The switch in the cluster: anything but false pauses, and so does its absence.
func TestConfigMapSwitch(t *testing.T) {
	s := newShop(t)
	sw := guard.ConfigMap{Client: s.guard, Namespace: s.ns, Name: "kmend", Key: "pause"}
	if why, err := sw.Paused(t.Context()); err == nil {
		t.Errorf("without the ConfigMap: %q and no error", why)
	}
	_, err := s.admin.CoreV1().ConfigMaps(s.ns).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kmend"}}, metav1.CreateOptions{})
	must(t, err)
	for value, want := range map[string]string{
		"": "", "false": "", " False\n": "",
		"true": `kmend is paused by ConfigMap ` + s.ns + `/kmend: pause is "true"`, "deploying": `"deploying"`, "0": `"0"`,
	} {
		_, err := s.admin.CoreV1().ConfigMaps(s.ns).Patch(t.Context(), "kmend", types.MergePatchType, fmt.Appendf(nil, `{"data":{"pause":%q}}`, value), metav1.PatchOptions{})
		must(t, err)
		why, err := sw.Paused(t.Context())
		must(t, err)
		if !strings.Contains(why, want) || want == "" && why != "" {
			t.Errorf("%q: %q, want %q in it", value, why, want)
		}
	}
}
