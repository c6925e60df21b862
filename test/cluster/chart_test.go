package cluster

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	authorization "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kmend/kmend/incident"
)

// shop is where testdata/chart.yaml lets kmend act.
const shop = "shop"

// The chart as it is installed: kmend and the agent in pods, with the rights, the
// capabilities, the certificates and the tokens that its manifests give them.
func TestChart(t *testing.T) {
	node.Need(t)
	namespace(t, shop) // has to be there: the rights are bound in it
	c := install(t, "chart.yaml")
	t.Run("Confined", c.confined)
	s := c.server()
	am := startAlertmanager(t, s)

	// before there is a connection between the two
	t.Run("NetworkPolicy", func(t *testing.T) {
		end := drop(t, c.kmend.Status.PodIP, c.agent.Status.PodIP)
		defer end()
		inc := alerted(t, s, am, node.Run(t, Burn{Name: "unseen", Namespace: shop, Limit: "200m"}))
		says(t, inc, incident.OutcomeInconclusive, "https://"+c.agent.Status.PodIP+":9791", "NetworkPolicies (egress of kmend, ingress of the agents)")
	})
	t.Run("Heals", func(t *testing.T) {
		burn := slow("throttled")
		burn.Namespace = shop
		pod := node.Run(t, burn)
		expectThrottled(t, pod, 0.2)
		expectHealed(t, s, am, pod)
	})
	t.Run("AnotherNamespace", func(t *testing.T) {
		resize := authorization.ResourceAttributes{Namespace: shop, Resource: "pods", Subresource: "resize", Verb: "patch"}
		there := resize
		there.Namespace = "default"
		if !may(t, release, resize) || may(t, release, there) {
			t.Error("the right to resize is not that in one namespace")
		}
		pod := node.Run(t, slow("elsewhere"))
		expectThrottled(t, pod, 0.2)
		says(t, alerted(t, s, am, pod), incident.Denied, "kmend acts in the namespaces "+shop+" only", "rbac.namespaces")
	})
	t.Run("WhoMayAsk", c.whoMayAsk)
	t.Run("Capabilities", c.capabilities)
	t.Run("NodeOfItsOwn", func(t *testing.T) {
		answersForItsNodeOnly(t, c.reach(tokenOf(t, releaseNamespace, release, "kmend-agent")))
	})
	t.Run("NoRightToReview", func(t *testing.T) {
		lose(t, release+"-agent", authorization.ResourceAttributes{Group: "authentication.k8s.io", Resource: "tokenreviews", Verb: "create"}, release+"-agent")
		refuses(t, c.reach(""), tokenOf(t, releaseNamespace, release, "kmend-agent"), "lacks the right to create tokenreviews", "deploy/rbac/kmend-agent.yaml")
	})
	t.Run("NoRightToResize", func(t *testing.T) {
		lose(t, release+"-resize", authorization.ResourceAttributes{Namespace: shop, Resource: "pods", Subresource: "resize", Verb: "patch"}, release)
		burn := slow("kept")
		burn.Namespace = shop
		pod := node.Run(t, burn)
		expectThrottled(t, pod, 0.2)
		inc := alerted(t, s, am, pod)
		says(t, inc, incident.Denied, "pods/resize", "with the chart set actions.resize_cpu: true", "without it kubectl apply -f deploy/rbac/resize.yaml")
	})
	t.Run("NoWayToTheAPIServer", func(t *testing.T) {
		drop(t, c.agent.Status.PodIP, apiServiceIP)
		refuses(t, c.reach(""), tokenOf(t, releaseNamespace, release, "kmend-agent"), "asking the API server at "+apiServiceIP+":443", "the agents' NetworkPolicy (egress)")
	})
}

// confined: what the manifests promise is what the kernel enforces.
func (c *installation) confined(t *testing.T) {
	capabilities := c.agent.Spec.Containers[0].SecurityContext.Capabilities.Add
	t.Logf("the agent's capabilities: %s", capabilities)
	confined(t, c.agent, "0", capabilities...)
	if !same(t, proc(t, c.agent), "pid") {
		t.Error("the agent does not see the node's processes")
	}
	confined(t, c.kmend, "65532")
	if same(t, proc(t, c.kmend), "pid") {
		t.Error("kmend sees the node's processes")
	}
	entries, err := os.ReadDir(proc(t, c.kmend) + "/root/etc/kmend/agents")
	if err != nil {
		t.Fatal(err)
	}
	var mounted []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "..") { // the kubelet's versions
			mounted = append(mounted, e.Name())
		}
	}
	if want := []string{"ca.crt", "token"}; !slices.Equal(mounted, want) {
		t.Errorf("of the agents kmend has %s, want %s", mounted, want)
	}
	key, err := os.ReadFile(proc(t, c.agent) + "/root/etc/kmend-agent/tls/tls.key")
	if err != nil || !strings.Contains(string(key), "PRIVATE KEY") {
		t.Errorf("the agent's key: %v", err)
	}
}

func (c *installation) whoMayAsk(t *testing.T) {
	a := c.reach("")
	if _, err := asks(t, a, tokenOf(t, releaseNamespace, release, "kmend-agent")); err != nil {
		t.Fatal(err)
	}
	account(t, releaseNamespace, "other")
	const audience = `not valid for the audience "kmend-agent"`
	refuses(t, a, "", "no bearer token")
	refuses(t, a, tokenOf(t, releaseNamespace, release), audience)
	refuses(t, a, tokenOf(t, releaseNamespace, release, "somebody-else"), audience, `"somebody-else"`)
	refuses(t, a, tokenOf(t, releaseNamespace, "other", "kmend-agent"), "only system:serviceaccount:"+releaseNamespace+":"+release+" may ask")
	refuses(t, a, tokenOf(t, releaseNamespace, release+"-agent", "kmend-agent"), "may ask")
}

// says checks how an incident ended, and that whoever reads it knows what to do.
func says(t *testing.T, inc incident.Incident, outcome incident.Outcome, wants ...string) {
	t.Helper()
	if inc.Outcome != outcome {
		t.Errorf("it ended as %s, want %s", inc.Outcome, outcome)
	}
	said := inc.Reason
	for _, e := range inc.Timeline {
		said += "\n" + e.Message
	}
	for _, want := range wants {
		if !strings.Contains(said, want) {
			t.Errorf("nobody says %q: %s", want, said)
		}
	}
}

// lose takes the binding of a right away until the test ends, and waits until the API
// server says no. Where the right is one in a namespace, so is the binding.
func lose(t *testing.T, name string, right authorization.ResourceAttributes, account string) {
	t.Helper()
	kind := "clusterrolebindings"
	if right.Namespace != "" {
		kind = "rolebindings"
	}
	of := everything(t).Resource(rbacv1.SchemeGroupVersion.WithResource(kind)).Namespace(right.Namespace)
	was, err := of.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := of.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		was.SetResourceVersion("")
		was.SetUID("")
		if _, err := of.Create(context.WithoutCancel(t.Context()), was, metav1.CreateOptions{}); err != nil {
			t.Error(err)
		}
	})
	for deadline := time.Now().Add(20 * time.Second); may(t, account, right); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s may still %s %s without %s", account, right.Verb, right.Resource, name)
		}
	}
}

// may is what the API server says of a service account of the release.
func may(t *testing.T, account string, right authorization.ResourceAttributes) bool {
	t.Helper()
	review := &authorization.SubjectAccessReview{Spec: authorization.SubjectAccessReviewSpec{ResourceAttributes: &right, User: "system:serviceaccount:" + releaseNamespace + ":" + account}}
	got, err := node.Client().AuthorizationV1().SubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return got.Status.Allowed
}

// namespace is one for a test's pods.
func namespace(t *testing.T, name string) {
	t.Helper()
	b := node.Client().CoreV1()
	if _, err := b.Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Namespaces().Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := b.ServiceAccounts(name).Get(t.Context(), "default", metav1.GetOptions{}); err == nil {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("namespace %s has no service account: %v", name, err)
		}
	}
}
