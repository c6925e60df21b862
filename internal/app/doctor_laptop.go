package app

import (
	"context"
	"fmt"
	"time"

	authorization "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	client "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kmend/kmend/internal/doctor"
)

// Laptop is a person's own way to a cluster, and what kmend is there.
type Laptop struct {
	Rest      *rest.Config
	Version   string
	Namespace string // of kmend and of its agents
	Account   string // kmend's service account there
	Selector  string // of the agents' pods
	// Config names the runbooks whose actions need rights.
	Config Config
}

// Checks are what can be seen of kmend's cluster from outside of it: the rights of its
// service account, as far as the caller may ask for another's, and the agents' pods. What
// the agents can measure kmend itself says, for they answer nobody else.
func (l Laptop) Checks() ([]doctor.Check, error) {
	k, clock, err := connect(l.Rest, l.Version)
	if err != nil {
		return nil, err
	}
	steps, err := l.Config.steps()
	if err != nil {
		return nil, fmt.Errorf("reading the runbooks: %w", err)
	}
	c := l.Config
	c.Agents.Kubernetes = &AgentPods{Namespace: l.Namespace, Selector: l.Selector}
	who := "system:serviceaccount:" + l.Namespace + ":" + l.Account
	return []doctor.Check{
		clock,
		{Group: "cluster", Name: "rights of " + l.Account, Limit: 20 * time.Second, Run: func(ctx context.Context) []doctor.Line {
			lines := review(ctx, another(k, who, l.Namespace), c, steps, who)
			if len(lines) == 1 && lines[0].Status == doctor.Todo && ctx.Err() == nil {
				if _, err := another(k, who, l.Namespace)(ctx, &authorization.ResourceAttributes{Verb: "get", Resource: "pods"}); apierrors.IsForbidden(err) {
					return []doctor.Line{doctor.Absent("", "you may not ask for another's rights (create subjectaccessreviews): kmend itself says what it may, at --server")}
				}
			}
			return lines
		}},
		{Group: "agents", Name: "agents' pods", Run: func(ctx context.Context) []doctor.Line { return podLines(ctx, k, *c.Agents.Kubernetes) }},
	}, nil
}

// another asks about the rights of a service account.
func another(k client.Interface, who, namespace string) reviewer {
	groups := []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}
	return func(ctx context.Context, a *authorization.ResourceAttributes) (bool, error) {
		r, err := k.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorization.SubjectAccessReview{
			Spec: authorization.SubjectAccessReviewSpec{User: who, Groups: groups, ResourceAttributes: a}}, metav1.CreateOptions{})
		if err != nil {
			return false, err
		}
		return r.Status.Allowed, nil
	}
}

// podLines are the nodes by whether the pod of an agent is ready on them.
func podLines(ctx context.Context, k client.Interface, where AgentPods) []doctor.Line {
	places, err := podPlaces(ctx, k, where)
	if err != nil {
		return []doctor.Line{doctor.Wrong("", "ask with a kubeconfig that may list nodes, and pods in namespace "+where.Namespace, "%v", err)}
	}
	var lines []doctor.Line
	ready := 0
	for _, p := range places {
		if p.absent != "" {
			lines = append(lines, examiner{}.ask(ctx, p)...)
			continue
		}
		ready++
	}
	if len(places) == 0 {
		return []doctor.Line{doctor.Wrong("", "ask another cluster", "it has no nodes with Linux")}
	}
	if ready > 0 {
		lines = append(lines, doctor.Fine("", "ready on %d of %d nodes", ready, len(places)))
	}
	return lines
}
