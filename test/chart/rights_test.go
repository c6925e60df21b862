package chart

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// rights are those of the service account kmend, as "VERB GROUP/RESOURCE@WHERE", where WHERE is
// * for the whole cluster.
func (r rendered) rights(account string) (out []string) {
	r.t.Helper()
	roles := map[string][]rbacv1.PolicyRule{}
	for _, o := range all[*rbacv1.ClusterRole](r) {
		roles["ClusterRole "+o.Name] = o.Rules
	}
	for _, o := range all[*rbacv1.Role](r) {
		roles["Role "+o.Name] = o.Rules
	}
	add := func(ref rbacv1.RoleRef, subjects []rbacv1.Subject, where string) {
		rules, ok := roles[ref.Kind+" "+ref.Name]
		if !ok || len(rules) == 0 {
			r.t.Errorf("a binding of %s %s, which is not there", ref.Kind, ref.Name)
		}
		if len(subjects) != 1 || subjects[0].Namespace != "kmend" {
			r.t.Errorf("%s %s is bound to %v", ref.Kind, ref.Name, subjects)
		}
		if subjects[0].Name != account {
			return
		}
		for _, rule := range rules {
			for _, v := range rule.Verbs {
				for _, res := range rule.Resources {
					out = append(out, v+" "+rule.APIGroups[0]+"/"+res+strings.Join(rule.ResourceNames, ",")+"@"+where)
				}
			}
		}
	}
	for _, b := range all[*rbacv1.ClusterRoleBinding](r) {
		add(b.RoleRef, b.Subjects, "*")
	}
	for _, b := range all[*rbacv1.RoleBinding](r) {
		add(b.RoleRef, b.Subjects, b.Namespace)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// beyond are the rights that values add to those of the default values.
func beyond(t *testing.T, text string) []string {
	t.Helper()
	usual := render(t, DefaultRelease(), nil).rights("kmend")
	return slices.DeleteFunc(render(t, DefaultRelease(), values(t, text)).rights("kmend"), func(right string) bool { return slices.Contains(usual, right) })
}

// What is read is the same for all; with no action on, nothing else is there.
func TestRightsOfNoAction(t *testing.T) {
	got := render(t, DefaultRelease(), nil).rights("kmend")
	for _, right := range got {
		verb, rest, _ := strings.Cut(right, " ")
		if !slices.Contains([]string{"get", "list", "watch"}, verb) && right != "create /events@*" || strings.HasPrefix(rest, "/secrets") || strings.HasPrefix(rest, "/*") {
			t.Errorf("with no action on kmend may %s", right)
		}
	}
	if len(got) < 20 || !slices.Contains(got, "get /configmapskmend@kmend") {
		t.Errorf("kmend may %q", got)
	}
	if got := render(t, DefaultRelease(), nil).rights("kmend-agent"); !slices.Equal(got, []string{"create authentication.k8s.io/tokenreviews@*"}) {
		t.Errorf("an agent may %q", got)
	}
	want := []string{"create /secrets@kmend", "get /secretskmend-agent-tls@kmend", "update /secretskmend-agent-tls@kmend"}
	if got := render(t, DefaultRelease(), nil).rights("kmend-certificates"); !slices.Equal(got, want) {
		t.Errorf("what renews the certificate may %q, want %q", got, want)
	}
}

// granted is what each action adds, and nothing else does.
var granted = map[string][]string{
	"resize_cpu":      {"patch /pods/resize@*"},
	"resize_memory":   {"patch /pods/resize@*"},
	"resize_template": {"patch apps/daemonsets@*", "patch apps/deployments@*", "patch apps/statefulsets@*"},
	"evict_pod":       {"create /pods/eviction@*"},
	"drain_node":      {"create /pods/eviction@*", "patch /nodes@*"},
	"cordon_node":     {"patch /nodes@*"},
	"uncordon_node":   {"patch /nodes@*"},
	"taint_node":      {"patch /nodes@*"},
	"label": {"list /services@*", "patch /nodes@*", "patch /pods@*", "patch apps/daemonsets@*", "patch apps/deployments@*",
		"patch apps/statefulsets@*"},
	"scale":           {"patch apps/deployments/scale@*", "patch apps/statefulsets/scale@*"},
	"raise_hpa_max":   {"get autoscaling/horizontalpodautoscalers@*", "patch autoscaling/horizontalpodautoscalers@*"},
	"rollout_restart": {"patch apps/daemonsets@*", "patch apps/deployments@*", "patch apps/statefulsets@*"},
	"rollout_undo": {"get apps/controllerrevisions@*", "list apps/controllerrevisions@*", "list apps/replicasets@*", "patch apps/daemonsets@*",
		"patch apps/deployments@*", "patch apps/statefulsets@*"},
	"leave_service": {"list /services@*", "list discovery.k8s.io/endpointslices@*", "patch /pods@*"},
	"point_service": {"get /services@*", "list discovery.k8s.io/endpointslices@*", "patch /services@*"},
	"shift_traffic": {"get gateway.networking.k8s.io/httproutes@*", "patch gateway.networking.k8s.io/httproutes@*"},
	"set_config":    {"get /configmaps@*", "patch /configmaps@*"},
	"run_job":       {"create batch/jobs@*", "get batch/cronjobs@*", "get batch/jobs@*"},
}

func TestRightsOfEachAction(t *testing.T) {
	usual := render(t, DefaultRelease(), nil).rights("kmend")
	if len(granted) != len(switches) {
		t.Errorf("%d actions, %d switches", len(granted), len(switches))
	}
	for action, want := range granted {
		want = slices.DeleteFunc(slices.Clone(want), func(right string) bool { return slices.Contains(usual, right) }) // watch.yaml has it
		if got := beyond(t, "actions: {"+action+": true}"); !slices.Equal(got, want) {
			t.Errorf("%s adds %q, want %q", action, got, want)
		}
		if got := beyond(t, "actions: {"+action+": false}"); len(got) > 0 {
			t.Errorf("%s, which is off, adds %q", action, got)
		}
	}
}

// In the namespaced mode actions may act in the namespaces that are named, and on no node.
func TestNamespaced(t *testing.T) {
	got := beyond(t, "{rbac: {mode: namespaced, namespaces: [shop, cart]}, actions: {scale: true, label: true}}")
	for _, right := range got {
		_, where, _ := strings.Cut(right, "@")
		if where != "shop" && where != "cart" || strings.Contains(right, "nodes") {
			t.Errorf("kmend may %s", right)
		}
	}
	text := one[*corev1.ConfigMap](render(t, DefaultRelease(), values(t, "{rbac: {mode: namespaced, namespaces: [shop, cart]}}")), "kmend-config").Data["kmend.yaml"]
	if !strings.Contains(text, "namespaces:\n  - shop\n  - cart\n") {
		t.Errorf("the configuration does not say where kmend may act:\n%s", text)
	}
	if !slices.Contains(got, "patch apps/deployments/scale@shop") || !slices.Contains(got, "patch /pods@cart") || len(got) != 14 {
		t.Errorf("kmend may %q", got)
	}
}
