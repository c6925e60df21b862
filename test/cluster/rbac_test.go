package cluster

import (
	"os"
	"sync"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// kmendRules is all that `kmend serve` may do in the cluster of the test, as the
// files say that its parts need it: what it does beyond this fails here.
func kmendRules(t *testing.T) (rules []rbacv1.PolicyRule) {
	t.Helper()
	for _, file := range []string{"../../remediate/action/kubernetes/rbac.yaml", "../../internal/guard/rbac.yaml"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var role rbacv1.ClusterRole
		if err := yaml.UnmarshalStrict(text, &role); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		rules = append(rules, role.Rules...)
	}
	return rules
}

var grantOnce sync.Once

// grant gives the user kmend what it needs.
func grant(t *testing.T) {
	t.Helper()
	grantOnce.Do(func() {
		rbac, name := node.Client().RbacV1(), metav1.ObjectMeta{Name: "kmend"}
		if _, err := rbac.ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: name, Rules: kmendRules(t)}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := rbac.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: name,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "kmend"},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "kmend"}},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	})
}
