package app

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	authorization "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	client "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kmend/kmend/deploy/rbac"
	"github.com/kmend/kmend/internal/doctor"
	"github.com/kmend/kmend/runbooks"
)

// connect makes the client of the cluster's API, and the check that it answers and
// what its clock says.
func (e examiner) connect() (client.Interface, doctor.Check, error) {
	conf, err := e.config.Kubernetes.rest()
	if err != nil {
		return nil, doctor.Check{}, err
	}
	return connect(conf, e.version)
}

func connect(conf *rest.Config, version string) (client.Interface, doctor.Check, error) {
	conf.Timeout = apiTimeout
	conf.UserAgent, conf.QPS, conf.Burst = "kmend-doctor/"+version, 50, 100
	var mu sync.Mutex
	var skew time.Duration
	conf.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return dated{next, func(date, asked, answered time.Time) {
			mu.Lock()
			defer mu.Unlock()
			skew = off(date, asked, answered)
		}}
	})
	k, err := client.NewForConfig(conf)
	if err != nil {
		return nil, doctor.Check{}, fmt.Errorf("making the client of the Kubernetes API: %w", err)
	}
	return k, doctor.Check{Group: "cluster", Name: "Kubernetes API", Run: func(ctx context.Context) []doctor.Line {
		// Not k.Discovery(), whose request knows no context.
		text, err := k.CoreV1().RESTClient().Get().AbsPath("/version").DoRaw(ctx)
		if err != nil {
			return []doctor.Line{doctor.Wrong("", "see that it is up, and that kubernetes.kubeconfig or the pod's service account is right", "%v", err)}
		}
		mu.Lock()
		defer mu.Unlock()
		return []doctor.Line{doctor.Fine("", "it answers (%s)", versionOf(text)), clockLine("clock of the API server", "the API server", skew)}
	}}, nil
}

// need is one right that somebody needs for something.
type need struct {
	rbac.Grant
	namespace string // "": in all
	For       []string
}

// needed are the rights that kmend's configuration and the runbooks' steps need, each
// once, in the order of the files.
func needed(c Config, steps []runbooks.Step) (all []need, err error) {
	add := func(grants []rbac.Grant, namespace, reason string) {
		for _, g := range grants {
			i := slices.IndexFunc(all, func(n need) bool { return n.namespace == namespace && ruleOf(n.Grant) == ruleOf(g) && n.File == g.File })
			if i < 0 {
				all, i = append(all, need{g, namespace, nil}), len(all)
			}
			if !slices.Contains(all[i].For, reason) {
				all[i].For = append(all[i].For, reason)
			}
		}
	}
	always, err := rbac.Always()
	if err != nil {
		return nil, err
	}
	add(always, "", "every plan")
	if p := c.Agents.Kubernetes; p != nil {
		add([]rbac.Grant{{File: "deploy/rbac/base.yaml", Verb: "list", Resource: "pods"}}, p.Namespace, "finding the agents")
	}
	if p := c.Kubernetes.Pause; p != nil {
		add([]rbac.Grant{{File: "deploy/rbac/pause.yaml", Verb: "get", Resource: "configmaps", Names: []string{p.ConfigMap}}}, p.Namespace, "kubernetes.pause")
	}
	for _, s := range steps {
		if !strings.HasPrefix(s.Action, "kubernetes.") {
			continue
		}
		grants, err := rbac.Needs(s.Action, s.With)
		if err != nil {
			return nil, err
		}
		for _, g := range grants {
			if len(c.Kubernetes.Namespaces) == 0 {
				add([]rbac.Grant{g}, "", s.Action)
				continue
			}
			if g.Resource == "nodes" {
				continue // no namespace's: who confines kmend to some gives it none
			}
			for _, n := range c.Kubernetes.Namespaces {
				add([]rbac.Grant{g}, n, s.Action)
			}
		}
	}
	return all, nil
}

func ruleOf(g rbac.Grant) string { r := g.Rule(); return r.String() }

func (n need) attributes() *authorization.ResourceAttributes {
	resource, sub, _ := strings.Cut(n.Resource, "/")
	a := &authorization.ResourceAttributes{Namespace: n.namespace, Verb: n.Verb, Group: n.Group, Resource: resource, Subresource: sub}
	if len(n.Names) == 1 {
		a.Name = n.Names[0]
	}
	return a
}

// String is the right in words: "patch pods/resize".
func (n need) String() string {
	text := n.Verb + " " + n.Resource
	if n.Group != "" {
		text += " (" + n.Group + ")"
	}
	if n.namespace != "" {
		text += " in namespace " + n.namespace
	}
	return text
}

// reviewer asks whether one right is there.
type reviewer func(ctx context.Context, a *authorization.ResourceAttributes) (bool, error)

// self asks about the rights of whoever asks.
func self(k client.Interface) reviewer {
	return func(ctx context.Context, a *authorization.ResourceAttributes) (bool, error) {
		r, err := k.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx,
			&authorization.SelfSubjectAccessReview{Spec: authorization.SelfSubjectAccessReviewSpec{ResourceAttributes: a}}, metav1.CreateOptions{})
		if err != nil {
			return false, err
		}
		return r.Status.Allowed, nil
	}
}

// rights asks whether kmend has every right that it needs.
func (e examiner) rights(k client.Interface) doctor.Check {
	return doctor.Check{Group: "cluster", Name: "API rights", Limit: 20 * time.Second, Run: func(ctx context.Context) []doctor.Line {
		return review(ctx, self(k), e.config, e.steps, "kmend")
	}}
}

// reviews are under way at once.
const reviews = 8

// review has a line for each file that grants something that is missing, and one for
// what is there.
func review(ctx context.Context, ask reviewer, c Config, steps []runbooks.Step, who string) []doctor.Line {
	wanted, err := needed(c, steps)
	if err != nil {
		return []doctor.Line{doctor.Wrong("", "report this as a bug of kmend's", "%v", err)}
	}
	has, errs := make([]bool, len(wanted)), make([]error, len(wanted))
	turns := make(chan struct{}, reviews)
	var wg sync.WaitGroup
	for i, n := range wanted {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			has[i], errs[i] = ask(ctx, n.attributes())
		})
	}
	wg.Wait()
	missing := map[string][]need{}
	var files []string
	for i, n := range wanted {
		if errs[i] != nil {
			return []doctor.Line{doctor.Wrong("", "see that the API server answers, and that whoever asks may create access reviews", "whether %s may %s is not known: %v", who, n, errs[i])}
		}
		if !has[i] {
			if !slices.Contains(files, n.File) {
				files = append(files, n.File)
			}
			missing[n.File] = append(missing[n.File], n)
		}
	}
	lines := []doctor.Line{}
	for _, f := range files {
		lines = append(lines, lacking(who, f, missing[f]))
	}
	if len(files) == 0 {
		lines = append(lines, doctor.Fine("", "%s has all %d that its configuration and runbooks need", who, len(wanted)))
	}
	return lines
}

// lacking is the line of what one file grants. Nothing is amiss where kmend may not
// act: it comes so, and each right is somebody's choice.
func lacking(who, file string, missing []need) doctor.Line {
	var rights, reasons []string
	for _, n := range missing {
		rights = append(rights, n.String())
		reasons = append(reasons, n.For...)
	}
	slices.Sort(reasons)
	reasons = slices.Compact(reasons)
	var values []string
	for _, r := range reasons {
		if v := rbac.ChartValue(r, file); v != "" {
			values = append(values, v)
		}
	}
	todo := rbac.Remedy(file, values...)
	found := fmt.Sprintf("%s may not %s, for %s", who, strings.Join(rights, ", "), strings.Join(reasons, ", "))
	if len(values) > 0 {
		return doctor.Absent("", "%s: such plans end as denied. To give it: %s. Where its role is bound in some namespaces only, name them in kubernetes.namespaces (the chart does)", found, todo)
	}
	return doctor.Wrong("", todo, "%s", found)
}
