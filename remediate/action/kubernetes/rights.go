package kubernetes

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	authorization "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	client "k8s.io/client-go/kubernetes"

	"github.com/kmend/kmend/deploy/rbac"
	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action"
)

// right is one verb on one resource, in one namespace or, with "", in all.
type right struct{ verb, group, resource, namespace string }

// announcing is the right to write the events on objects of a namespace.
func announcing(namespace string) right {
	return right{"create", "", "events", orElse(namespace, corev1.NamespaceDefault)}
}

// may asks the API server for the rights that Apply will need and that no dry
// run shows. The one that is missing is an error in the API server's own words.
func may(ctx context.Context, c client.Interface, opts Options, rights ...right) error {
	ctx, cancel := context.WithTimeout(ctx, opts.Request)
	defer cancel()
	for _, r := range rights {
		resource, sub, _ := strings.Cut(r.resource, "/")
		answer, err := c.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorization.SelfSubjectAccessReview{
			Spec: authorization.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorization.ResourceAttributes{
				Namespace: r.namespace, Verb: r.verb, Group: r.group, Resource: resource, Subresource: sub}},
		}, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("asking the API server whether kmend may %s %s: %w", r.verb, r.resource, err)
		}
		if !answer.Status.Allowed {
			where := "at the cluster scope"
			if r.namespace != "" {
				where = fmt.Sprintf("in the namespace %q", r.namespace)
			}
			return fmt.Errorf("kmend cannot %s resource %q in API group %q %s", r.verb, r.resource, r.group, where)
		}
	}
	return nil
}

// explained is an action that is for some namespaces only, and whose errors say which
// manifest grants the right that was missing.
type explained struct {
	action.Action
	namespaces []string // empty: all
}

// within is an error for a target in a namespace that kmend may not act in.
func (a explained) within(target incident.Target) error {
	if len(a.namespaces) == 0 || target.Namespace == "" || slices.Contains(a.namespaces, target.Namespace) {
		return nil // a node is no namespace's: its rights decide
	}
	return forbidden{fmt.Errorf("kmend acts in the namespaces %s only, and the target is in %s: kubernetes.namespaces of its configuration, or with the chart rbac.namespaces", strings.Join(a.namespaces, ", "), target.Namespace)}
}

func (a explained) Irreversible() bool {
	i, ok := a.Action.(interface{ Irreversible() bool })
	return ok && i.Irreversible()
}

func (a explained) Preview(ctx context.Context, target incident.Target, with map[string]any) (incident.Preview, error) {
	if err := a.within(target); err != nil {
		return incident.Preview{}, err
	}
	p, err := a.Action.Preview(ctx, target, with)
	return p, explain(err, a.Name())
}

func (a explained) Apply(ctx context.Context, target incident.Target, step incident.Step) (incident.Execution, error) {
	if err := a.within(target); err != nil {
		return incident.Execution{}, err
	}
	x, err := a.Action.Apply(ctx, target, step)
	return x, explain(err, a.Name())
}

func (a explained) Undo(ctx context.Context, target incident.Target, step incident.Step, done incident.Execution) (incident.Execution, error) {
	x, err := a.Action.Undo(ctx, target, step, done)
	return x, explain(err, a.Name())
}

// denied is how the API server words that a right is missing.
var denied = regexp.MustCompile(`cannot ([a-z]+) resource "([^"]+)" in API group "([^"]*)"`)

// forbidden is an error about a right that somebody chose not to give.
type forbidden struct{ error }

func (f forbidden) Unwrap() error { return f.error }

func (forbidden) Is(target error) bool { return target == incident.ErrForbidden }

func explain(err error, name string) error {
	if err == nil {
		return nil
	}
	var files []string
	for _, m := range denied.FindAllStringSubmatch(err.Error(), -1) {
		if f := rbac.File(m[1], m[3], m[2]); f != "" && !slices.Contains(files, f) {
			files = append(files, f)
		}
	}
	chosen := false
	for _, f := range files {
		var values []string
		if v := rbac.ChartValue(name, f); v != "" {
			values, chosen = []string{v}, true
		}
		err = fmt.Errorf("%w; %s grants it: %s", err, f, rbac.Remedy(f, values...))
	}
	if chosen {
		return forbidden{err}
	}
	return err // what kmend always has is missing: something is wrong
}
