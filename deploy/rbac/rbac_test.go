package rbac

import (
	"reflect"
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// A right is in one file, so that who leaves the file out has not the right, and
// nothing gives the rights that nobody should have.
func TestGrants(t *testing.T) {
	grants, err := Grants()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, g := range grants {
		right := g.Verb + " " + g.Group + "/" + g.Resource
		if g.File == Watching {
			if g.Verb != "list" && g.Verb != "watch" || g.Resource == "secrets" || g.Resource == "*" {
				t.Errorf("%s grants %s", g.File, right)
			}
			continue
		}
		if was, twice := seen[right]; twice && len(g.Names) == 0 && was != "deploy/rbac/pause.yaml" {
			t.Errorf("%s is granted by %s and by %s", right, was, g.File)
		}
		seen[right] = g.File
		if len(g.Names) == 0 && File(g.Verb, g.Group, g.Resource) != g.File {
			t.Errorf("File(%s) is %q, want %q", right, File(g.Verb, g.Group, g.Resource), g.File)
		}
		if slices.Contains([]string{"*", "watch", "update", "delete", "deletecollection", "impersonate", "bind", "escalate"}, g.Verb) || g.Resource == "secrets" || g.Resource == "*" || g.Group == "*" {
			t.Errorf("%s grants %s", g.File, right)
		}
	}
	if len(seen) < 30 {
		t.Errorf("%d rights were read", len(seen))
	}
	if f := File("get", "", "secrets"); f != "" {
		t.Errorf("%s grants get secrets", f)
	}
}

// An agent, which is privileged on its node, may do one thing in the cluster.
func TestAgentGrants(t *testing.T) {
	got, err := AgentGrants()
	if err != nil {
		t.Fatal(err)
	}
	want := []Grant{{"deploy/rbac/kmend-agent.yaml", "create", "authentication.k8s.io", "tokenreviews", nil}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("agents are granted %+v, want %+v", got, want)
	}
	if f := File("create", "authentication.k8s.io", "tokenreviews"); f != "" {
		t.Errorf("%s grants kmend to review tokens", f)
	}
}

// Every role is bound, and to the service account that base.yaml makes; the agents'
// to theirs.
func TestBindings(t *testing.T) {
	objects, err := Objects()
	if err != nil {
		t.Fatal(err)
	}
	bound, roles := map[string]bool{}, map[string]bool{}
	made := false
	for _, o := range objects {
		made = made || o.GetKind() == "Namespace"
		if o.GetNamespace() != "" && !made {
			t.Errorf("%s %s is made before its namespace", o.GetKind(), o.GetName())
		}
		switch kind := o.GetKind(); kind {
		case "ClusterRole", "Role":
			roles[kind+" "+o.GetName()] = true
		case "ClusterRoleBinding", "RoleBinding":
			var b rbacv1.ClusterRoleBinding
			if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, &b, true); err != nil {
				t.Fatal(err)
			}
			name := "kmend"
			if o.GetName() == "kmend-agent" {
				name = "kmend-agent"
			}
			if want := (rbacv1.Subject{Kind: "ServiceAccount", Namespace: "kmend", Name: name}); len(b.Subjects) != 1 || b.Subjects[0] != want {
				t.Errorf("%s %s binds %v", kind, o.GetName(), b.Subjects)
			}
			bound[b.RoleRef.Kind+" "+b.RoleRef.Name] = true
		}
	}
	for r := range roles {
		if !bound[r] {
			t.Errorf("%s is not bound", r)
		}
	}
	if len(roles) < 9 || len(bound) != len(roles) {
		t.Errorf("roles %v, bound %v", roles, bound)
	}
}
