package rbac_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	authorization "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	client "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/restmapper"

	"github.com/kmend/kmend/test/apiserver"
)

var server apiserver.Server

func TestMain(m *testing.M) { server.Main(m) }

// A real API server takes deploy/kmend.yaml, every field of it, and gives each service account
// what it is to have; one more file gives one more right.
func TestPlainManifests(t *testing.T) {
	config := server.Config(t)
	kube, dyn := client.NewForConfigOrDie(config), dynamic.NewForConfigOrDie(config)
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(discovery.NewDiscoveryClientForConfigOrDie(config)))
	applied := 0
	apply := func(file string) {
		t.Helper()
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(b), 4096); ; {
			o := &unstructured.Unstructured{}
			if err := d.Decode(&o.Object); errors.Is(err, io.EOF) {
				return
			} else if err != nil {
				t.Fatal(err)
			}
			if o.Object == nil { // the comment at the head
				continue
			}
			m, err := mapper.RESTMapping(o.GroupVersionKind().GroupKind(), o.GroupVersionKind().Version)
			if err != nil {
				t.Fatal(err)
			}
			text, err := o.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			yes := true
			if _, err := dyn.Resource(m.Resource).Namespace(o.GetNamespace()).Patch(t.Context(), o.GetName(), types.ApplyPatchType, text,
				metav1.PatchOptions{FieldManager: "test", Force: &yes, FieldValidation: metav1.FieldValidationStrict}); err != nil {
				t.Errorf("%s: %s %s: %v", file, o.GetKind(), o.GetName(), err)
			}
			applied++
		}
	}
	asked := func(account, verb, group, resource, namespace, name string) bool {
		t.Helper()
		resource, sub, _ := strings.Cut(resource, "/")
		r, err := kube.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorization.SubjectAccessReview{Spec: authorization.SubjectAccessReviewSpec{
			User: "system:serviceaccount:kmend:" + account, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:kmend", "system:authenticated"},
			ResourceAttributes: &authorization.ResourceAttributes{Verb: verb, Group: group, Resource: resource, Subresource: sub, Namespace: namespace, Name: name},
		}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Status.Allowed
	}
	// The API server knows new rights a moment after it has taken them.
	may := func(want bool, account, verb, group, resource, namespace, name string) (got bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			if got = asked(account, verb, group, resource, namespace, name); got == want || time.Now().After(deadline) {
				return got
			}
		}
	}

	apply("../kmend.yaml")
	if applied < 25 {
		t.Errorf("%d objects were applied", applied)
	}
	for _, c := range []struct {
		account, verb, group, resource, namespace, name string
		want                                            bool
	}{ // what is given first: then all of it is known
		{"kmend", "watch", "", "pods", "", "", true},
		{"kmend", "get", "", "configmaps", "kmend", "kmend", true},
		{"kmend-agent", "create", "authentication.k8s.io", "tokenreviews", "", "", true},
		{"kmend-certificates", "create", "", "secrets", "kmend", "", true},
		{"kmend-certificates", "update", "", "secrets", "kmend", "kmend-agent-tls", true},
		{"kmend", "get", "", "configmaps", "kmend", "kmend-config", false},
		{"kmend", "get", "", "secrets", "kmend", "kmend-agent-tls", false},
		{"kmend", "patch", "", "pods/resize", "shop", "", false},
		{"kmend", "create", "authentication.k8s.io", "tokenreviews", "", "", false},
		{"kmend-agent", "list", "", "pods", "kmend", "", false},
		{"kmend-certificates", "get", "", "secrets", "kmend", "kmend-tokens", false},
		{"kmend-certificates", "create", "", "secrets", "shop", "", false},
	} {
		if got := may(c.want, c.account, c.verb, c.group, c.resource, c.namespace, c.name); got != c.want {
			t.Errorf("whether %s may %s %s %s in %q: %v", c.account, c.verb, c.resource, c.name, c.namespace, got)
		}
	}
	apply("resize.yaml")
	if !may(true, "kmend", "patch", "", "pods/resize", "shop", "") {
		t.Error("resize.yaml does not give the right to resize to the kmend of deploy/kmend.yaml")
	}
}
