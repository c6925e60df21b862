package certificates

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
)

// The label by which a Secret is this package's to change.
const managedBy, kmend = "app.kubernetes.io/managed-by", "kmend-certificates"

// Keeper keeps one Secret.
type Keeper struct {
	Client            kubernetes.Interface
	Namespace, Secret string
	Adopt             bool // change a Secret that somebody else made, too
	Options           Options
}

// Result is what was done, and what the Secret holds now; no keys.
type Result struct {
	Namespace string    `json:"namespace"`
	Secret    string    `json:"secret"`
	Did       string    `json:"did"`     // Unchanged, Made, Prepared or Replaced
	DNSName   string    `json:"dnsName"` // that agents show
	Expires   time.Time `json:"expires"` // the certificate that agents show
	CAs       int       `json:"cas"`     // that kmend trusts
}

// Keep renews the Secret where it is time. A Secret that somebody else made,
// cert-manager for example, is an error and stays as it is. Several at once do what
// one does: whoever comes second reads again.
func (k Keeper) Keep(ctx context.Context, now time.Time) (r Result, err error) {
	late := func(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }
	err = retry.OnError(retry.DefaultBackoff, late, func() error {
		r, err = k.keep(ctx, now)
		return err
	})
	return r, err
}

func (k Keeper) keep(ctx context.Context, now time.Time) (Result, error) {
	secrets := k.Client.CoreV1().Secrets(k.Namespace)
	s, err := secrets.Get(ctx, k.Secret, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		s = &corev1.Secret{Type: corev1.SecretTypeTLS, ObjectMeta: metav1.ObjectMeta{Name: k.Secret}}
	case err != nil:
		return Result{}, k.explain("reading", err)
	case s.Labels[managedBy] != kmend && !k.Adopt:
		return Result{}, fmt.Errorf("renewing secret %s/%s: it lacks the label %s=%s, so somebody else keeps it; give another name, or --adopt to take it over",
			k.Namespace, k.Secret, managedBy, kmend)
	}
	data, did, err := Renew(s.Data, k.Options, now)
	if err != nil {
		return Result{}, fmt.Errorf("renewing secret %s/%s: %w", k.Namespace, k.Secret, err)
	}
	r := Result{Namespace: k.Namespace, Secret: k.Secret, Did: did, DNSName: k.Options.DNSName, CAs: len(certificates(data[caKey]))}
	if leaf := usable(data, certKey, keyKey, k.Options.DNSName, now); leaf != nil {
		r.Expires = leaf.NotAfter
	}
	if did == Unchanged && s.Labels[managedBy] == kmend {
		return r, nil
	}
	s.Data = data
	metav1.SetMetaDataLabel(&s.ObjectMeta, managedBy, kmend)
	if s.ResourceVersion == "" {
		_, err = secrets.Create(ctx, s, metav1.CreateOptions{})
	} else {
		_, err = secrets.Update(ctx, s, metav1.UpdateOptions{}) // of what was read: two at once are a conflict
	}
	if err != nil {
		return Result{}, k.explain("writing", err)
	}
	return r, nil
}

// explain says what to do about an answer of the API server, or about none.
func (k Keeper) explain(doing string, err error) error {
	hint := ""
	if status := apierrors.APIStatus(nil); !errors.As(err, &status) {
		hint = "; the API server did not answer: look at the address, and in a cluster at the NetworkPolicy of this pod"
	} else if apierrors.IsForbidden(err) {
		hint = fmt.Sprintf("; grant that service account, by a Role in the namespace %s: create secrets; get and update secrets with resourceNames: [%s]", k.Namespace, k.Secret)
	}
	return fmt.Errorf("%s secret %s/%s: %w%s", doing, k.Namespace, k.Secret, err, hint)
}
