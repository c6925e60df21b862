package kubernetes_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authorization "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/kmend/kmend/deploy/rbac"
	"github.com/kmend/kmend/incident"
)

// usage is which rights were used, or asked for: "patch apps/deployments/scale".
type usage struct {
	mu     sync.Mutex
	rights map[string]bool
}

func (u *usage) add(right string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.rights == nil {
		u.rights = map[string]bool{}
	}
	u.rights[right] = true
}

// everUsed is what any test used.
var everUsed usage

// unneeded is the exit code of a whole run: 1 when the files that an action
// needs beyond base.yaml grant what no test of an action used. Those of watch.yaml are
// not for actions: diagnose/workloads has the test of them.
func unneeded() (code int) {
	grants, err := rbac.Grants()
	if err != nil || len(everUsed.rights) == 0 {
		return 0 // there was no API server
	}
	for _, g := range grants {
		right := g.Verb + " " + g.Group + "/" + g.Resource
		if g.File != "deploy/rbac/base.yaml" && g.File != "deploy/rbac/pause.yaml" && g.File != "deploy/rbac/watch.yaml" && !everUsed.rights[right] {
			fmt.Fprintf(os.Stderr, "%s grants %s, which no action used\n", g.File, right)
			code = 1
		}
	}
	return code
}

// rightOf is what RBAC asks about a request.
func rightOf(r *http.Request) (string, error) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	group := ""
	switch {
	case parts[0] == "api" && len(parts) > 2:
		parts = parts[2:]
	case parts[0] == "apis" && len(parts) > 3:
		group, parts = parts[1], parts[3:]
	default:
		return "", fmt.Errorf("%s is no request for a resource", r.URL.Path)
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		parts = parts[2:]
	}
	resource := group + "/" + parts[0]
	if len(parts) > 2 {
		resource += "/" + parts[2]
	}
	verb, ok := map[string]string{http.MethodPost: "create", http.MethodPatch: "patch", http.MethodGet: "list"}[r.Method]
	if r.Method == http.MethodGet && len(parts) > 1 {
		verb = "get"
	}
	if !ok {
		return "", fmt.Errorf("%s %s: no action does that", r.Method, r.URL.Path)
	}
	return verb + " " + resource, nil
}

// askedFor is the right that a SelfSubjectAccessReview asks for.
func askedFor(r *http.Request) (string, error) {
	body, err := r.GetBody()
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(body)
	if err != nil {
		return "", err
	}
	var review authorization.SelfSubjectAccessReview
	if _, _, err := scheme.Codecs.UniversalDeserializer().Decode(b, nil, &review); err != nil {
		return "", err
	}
	a := review.Spec.ResourceAttributes
	return strings.TrimSuffix(a.Verb+" "+a.Group+"/"+a.Resource+"/"+a.Subresource, "/"), nil
}

// as are the clients' configuration of a user with the rights of deploy/rbac, but
// for one. With all of them it is noted which are used.
func (w *world) as(but string) *rest.Config {
	w.Helper()
	name := fmt.Sprintf("%s-%x", w.namespace, but)
	roles := w.admin.RbacV1()
	_, err := roles.ClusterRoles().Create(w.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: w.granted(but)}, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		w.must(err)
		_, err = roles.ClusterRoleBindings().Create(w.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: name}}}, metav1.CreateOptions{})
		w.must(err)
		w.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			_ = roles.ClusterRoleBindings().Delete(ctx, name, metav1.DeleteOptions{})
			_ = roles.ClusterRoles().Delete(ctx, name, metav1.DeleteOptions{})
		})
	}
	config := cluster(w.T)
	config.Impersonate = rest.ImpersonationConfig{UserName: name}
	if but != "" {
		return config
	}
	return intercepted(config, func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		of := rightOf
		if strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews") {
			of = askedFor
		}
		right, err := of(r)
		if err != nil {
			return nil, err
		}
		w.used.add(right)
		everUsed.add(right)
		return next.RoundTrip(r)
	})
}

// granted are the rights of deploy/rbac, but for one.
func (w *world) granted(but string) (out []rbacv1.PolicyRule) {
	w.Helper()
	grants, err := rbac.Grants()
	w.must(err)
	found := but == ""
	for _, g := range grants {
		if g.Verb+" "+g.Group+"/"+g.Resource == but {
			found = true
			continue
		}
		out = append(out, g.Rule())
	}
	if !found {
		w.Errorf("deploy/rbac does not grant %q", but)
	}
	return out
}

// missesEachRight takes away one right after the other of those that the action
// used until now, from the first read to Undo: the preview says each time which
// one is missing, and what to do. Some are only for warnings: they are in but.
func (w *world) missesEachRight(action string, t incident.Target, with map[string]any, but ...string) {
	w.Helper()
	w.used.mu.Lock()
	rights := slices.Sorted(maps.Keys(w.used.rights))
	w.used.mu.Unlock()
	if len(rights) < 3 {
		w.Errorf("%s used %v only", action, rights)
	}
	for _, right := range rights {
		if !slices.Contains(but, right) {
			w.misses(right, action, t, with)
		}
	}
}

// misses checks that the preview of a user who lacks one right says so.
func (w *world) misses(right, name string, t incident.Target, with map[string]any) {
	w.Helper()
	verb, resource, _ := strings.Cut(right, " ")
	group, resource, _ := strings.Cut(resource, "/")
	want := fmt.Sprintf("cannot %s resource %q in API group %q", verb, resource, group)
	a := w.acting(w.as(right), name)
	var err error
	// Until the API server knows the rights of a new user, other ones are missing too.
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if _, err = a.Preview(w.Context(), t, with); err == nil || strings.Contains(err.Error(), want) {
			break
		}
	}
	w.refusal(err, want)
	w.refusal(err, fmt.Sprintf("; %[1]s grants it: with the chart ", rbac.File(verb, group, resource)))
}

// What resize_cpu only warns by may be left out: then the plan says what was not checked.
func TestRightsOfResizeCPU(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.deployment("web", "app:1", 1)
	target := s.podOf("web")
	with := map[string]any{"max": 1}
	const name = "kubernetes.resize_cpu"
	a := s.acting(s.as(""), name)
	step := s.planned(a, target, with)
	done, err := a.Apply(t.Context(), target, step)
	s.must(err)
	s.is("result", done.Result+done.State["event"], "applied")
	s.is("cpu", s.cpu(target.Pod), "400m 100m")
	_, err = a.Undo(t.Context(), target, step, done)
	s.must(err)
	horizontal, vertical, owner := "list autoscaling/horizontalpodautoscalers", "list autoscaling.k8s.io/verticalpodautoscalers", "get apps/deployments"
	s.missesEachRight(name, target, with, horizontal, vertical, owner)
	for right, want := range map[string]string{
		horizontal: "horizontal autoscalers were not checked (Forbidden)",
		vertical:   "vertical autoscalers were not checked (Forbidden)",
		owner:      "lasts as long as this pod: the template of Deployment web keeps the old limit",
	} {
		less := s.planned(s.acting(s.as(right), name), target, with)
		if !strings.Contains(less.Preview.Summary, want) {
			t.Errorf("without %s the plan is %q", right, less.Preview.Summary)
		}
	}
}
