package certificates

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	authorization "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kmend/kmend/test/apiserver"
)

var server apiserver.Server

func TestMain(m *testing.M) { server.Main(m) }

// granted is a keeper of the Secret agents-tls in a namespace of its own, with the
// rights that the error about missing ones names and no others, and the administrator.
func granted(t *testing.T, namespace string, rules ...rbacv1.PolicyRule) (Keeper, kubernetes.Interface) {
	t.Helper()
	conf := server.Config(t)
	admin, err := kubernetes.NewForConfig(conf)
	if err != nil {
		t.Fatal(err)
	}
	meta := metav1.ObjectMeta{Name: "certificates", Namespace: namespace}
	_, err1 := admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	_, err2 := admin.RbacV1().Roles(namespace).Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{})
	_, err3 := admin.RbacV1().RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
		Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: namespace}},
	}, metav1.CreateOptions{})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = admin.CoreV1().Namespaces().Delete(context.WithoutCancel(t.Context()), namespace, metav1.DeleteOptions{}) // the server is thrown away
	})
	conf.Impersonate = rest.ImpersonationConfig{UserName: namespace}
	client, err := kubernetes.NewForConfig(conf)
	if err != nil {
		t.Fatal(err)
	}
	// The server heeds a role some moments after it was made.
	review := &authorization.SelfSubjectAccessReview{Spec: authorization.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorization.ResourceAttributes{
		Namespace: namespace, Verb: rules[0].Verbs[0], Resource: "secrets", Name: "agents-tls"}}}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		r, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
		if err == nil && r.Status.Allowed {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("10 s after its role was made, %s may not %s: %v", namespace, rules[0].Verbs[0], err)
		}
	}
	return Keeper{Client: client, Namespace: namespace, Secret: "agents-tls", Options: DefaultOptions()}, admin
}

func rights() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"create"}},
		{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{"agents-tls"}, Verbs: []string{"get", "update"}},
	}
}

func keep(t *testing.T, k Keeper, now time.Time, want string) Result {
	t.Helper()
	r, err := k.Keep(t.Context(), now)
	if err != nil || r.Did != want {
		t.Fatalf("%+v, %v; want %s", r, err, want)
	}
	return r
}

func read(t *testing.T, admin kubernetes.Interface, k Keeper) *corev1.Secret {
	t.Helper()
	s, err := admin.CoreV1().Secrets(k.Namespace).Get(t.Context(), k.Secret, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// From nothing through a renewal, with a real API server and a Role of two rules.
func TestKeep(t *testing.T) {
	k, admin := granted(t, "keep", rights()...)
	now := time.Now()
	r := keep(t, k, now, Made)
	if want := now.Add(30 * day); want.Sub(r.Expires).Abs() > time.Second || r.CAs != 1 {
		t.Errorf("%+v; want one CA, until %s", r, want)
	}
	made := read(t, admin, k)
	if made.Type != corev1.SecretTypeTLS || made.Labels[managedBy] != kmend {
		t.Errorf("type %s, labels %v", made.Type, made.Labels)
	}
	keep(t, k, now.Add(day), Unchanged)
	if again := read(t, admin, k); again.ResourceVersion != made.ResourceVersion {
		t.Error("nothing was to be done, and the Secret was written")
	}
	if r := keep(t, k, now.Add(21*day), Prepared); r.CAs != 2 || r.Expires.After(now.Add(30*day)) {
		t.Errorf("while two CAs are trusted: %+v", r)
	}
	if r := keep(t, k, now.Add(22*day), Replaced); r.CAs != 2 || r.Expires.Before(now.Add(50*day)) {
		t.Errorf("after the renewal: %+v", r)
	}
	text, err := json.Marshal(r)
	if err != nil || strings.Contains(string(text), "PRIVATE") {
		t.Errorf("%s, %v", text, err)
	}
}

// The Job of an installation, its second try and the CronJob at once: one makes the
// Secret, the others find it; then one prepares, and no pair is lost.
func TestSeveralAtOnce(t *testing.T) {
	k, admin := granted(t, "several", rights()...)
	atOnce := func(now time.Time) map[string]int {
		var wg sync.WaitGroup
		var mu sync.Mutex
		did := map[string]int{}
		for range 5 {
			wg.Go(func() {
				r, err := k.Keep(t.Context(), now)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				did[r.Did]++
			})
		}
		wg.Wait()
		return did
	}
	now := time.Now()
	if did := atOnce(now); did[Made] != 1 || did[Unchanged] != 4 {
		t.Errorf("%v; want one made", did)
	}
	before := read(t, admin, k).Data
	if did := atOnce(now.Add(21 * day)); did[Prepared] != 1 || did[Unchanged] != 4 {
		t.Errorf("%v; want one prepared", did)
	}
	after := read(t, admin, k).Data
	if err := shakes(t, before, after, "kmend-agent", now.Add(21*day)); err != nil {
		t.Error(err)
	}
}

// A Secret of somebody else stays as it is, unless it is to be taken over: then its
// certificate is shown until its time comes.
func TestOfSomebodyElse(t *testing.T) {
	k, admin := granted(t, "else", rights()...)
	now := time.Now()
	data := renew(t, nil, now, Made)
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: k.Secret}, Type: corev1.SecretTypeTLS, Data: data}
	theirs, err := admin.CoreV1().Secrets(k.Namespace).Create(t.Context(), theirs, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.Keep(t.Context(), now.Add(21*day))
	if err == nil || !strings.Contains(err.Error(), "lacks the label app.kubernetes.io/managed-by=kmend-certificates") || !strings.Contains(err.Error(), "--adopt") {
		t.Errorf("%v", err)
	}
	if s := read(t, admin, k); s.ResourceVersion != theirs.ResourceVersion {
		t.Error("it was written all the same")
	}
	k.Adopt = true
	keep(t, k, now.Add(day), Unchanged)
	k.Adopt = false // it is the keeper's now
	keep(t, k, now.Add(21*day), Prepared)
	if s := read(t, admin, k); string(s.Data[certKey]) != string(data[certKey]) {
		t.Error("the certificate was replaced before its time")
	}
}

// Without the rights nothing is made, and the error says what to grant, to whom.
func TestDenied(t *testing.T) {
	all := rights()
	for namespace, lacks := range map[string]struct {
		rules []rbacv1.PolicyRule
		want  string
	}{
		"denied-get":    {all[:1], "reading secret denied-get/agents-tls"},
		"denied-create": {all[1:], "writing secret denied-create/agents-tls"},
	} {
		k, _ := granted(t, namespace, lacks.rules...)
		_, err := k.Keep(t.Context(), time.Now())
		for _, want := range []string{lacks.want, `User "` + namespace + `" cannot`, "grant that service account", "create secrets; get and update secrets with resourceNames: [agents-tls]"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v; want %s", err, want)
			}
		}
	}
}

func TestNoAnswer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close() // nobody is there
	client, err := kubernetes.NewForConfig(&rest.Config{Host: "https://" + ln.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Keeper{Client: client, Namespace: "kmend", Secret: "agents-tls", Options: DefaultOptions()}.Keep(t.Context(), time.Now())
	if err == nil || !strings.Contains(err.Error(), "reading secret kmend/agents-tls") || !strings.Contains(err.Error(), "NetworkPolicy") {
		t.Errorf("%v", err)
	}
}
