package cluster

import (
	"path/filepath"
	"testing"

	authentication "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kmend/kmend/deploy/rbac"
	"github.com/kmend/kmend/test/apiserver"
)

// grant makes what deploy/rbac says, as it says it, where it is not there, and returns the
// path of a kubeconfig with a token of the service account there: what kmend does beyond
// these rights fails.
func grant(t *testing.T) (kubeconfig string) {
	t.Helper()
	kubeconfig = filepath.Join(node.dir, "kmend.kubeconfig")
	accounts := node.Client().CoreV1().ServiceAccounts("kmend")
	if _, err := accounts.Get(t.Context(), "kmend", metav1.GetOptions{}); err == nil {
		return kubeconfig // of an earlier test
	} else if !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	objects, err := rbac.Objects()
	if err != nil {
		t.Fatal(err)
	}
	admin, err := clientcmd.BuildConfigFromFlags("", node.Kubeconfig("admin"))
	if err != nil {
		t.Fatal(err)
	}
	apiserver.Create(t, admin, objects...)
	token, err := accounts.CreateToken(t.Context(), "kmend", &authentication.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.LoadFromFile(node.Kubeconfig("admin"))
	if err != nil {
		t.Fatal(err)
	}
	config.AuthInfos["user"].Token = token.Status.Token
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}
