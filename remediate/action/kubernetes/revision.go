package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// revision is where the cluster keeps a pod template that a workload has or had:
// in a ReplicaSet or a ControllerRevision. Plans and executions are stored and
// shown, and a template may have passwords in its environment, so they have this
// in its place.
type revision struct {
	API    string `json:"api"`
	Name   string `json:"name"`
	UID    string `json:"uid"`
	Digest string `json:"digest"` // of the template
}

func (r revision) String() string { return fmt.Sprintf("that of %s (sha256 %.12s)", r.Name, r.Digest) }

// record is a revision with what it holds.
type record struct {
	revision
	number   int64
	template map[string]any
}

// errForgotten: a template that was to be put back is not kept any more.
var errForgotten = errors.New("the template of that revision is gone, or is not what it was")

// history is the revision of a workload's present template, and the one before.
func (c *cluster) history(ctx context.Context, o *unstructured.Unstructured) (now, before record, err error) {
	name := objectName(o.GetKind(), o.GetNamespace(), o.GetName())
	api := revisions
	if o.GetKind() == "Deployment" {
		api = replicaSets
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.Request)
	defer cancel()
	list, err := c.at(edit{API: api, Namespace: o.GetNamespace()}).List(ctx, metav1.ListOptions{})
	if err != nil {
		return now, before, fmt.Errorf("listing the revisions of %s: %w", name, err)
	}
	var records []record
	present := digest(plain(path{"spec", "template"}.get(o.Object)))
	for i := range list.Items {
		kept := &list.Items[i]
		if owner := metav1.GetControllerOf(kept); owner == nil || owner.UID != o.GetUID() {
			continue
		}
		r := recorded(api, kept)
		records = append(records, r)
		if r.Digest == present && r.number > now.number {
			now = r
		}
	}
	if now.number == 0 {
		return now, before, fmt.Errorf("the controller has not recorded the present template of %s yet", name)
	}
	for _, r := range records {
		if r.number < now.number && r.number > before.number {
			before = r
		}
	}
	if before.number == 0 {
		return now, before, fmt.Errorf("%s has no revision before %d", name, now.number)
	}
	return now, before, nil
}

// recorded reads a ReplicaSet or a ControllerRevision.
func recorded(api string, kept *unstructured.Unstructured) record {
	at, number := path{"data", "spec", "template"}, whole(kept.Object["revision"])
	if api == replicaSets {
		at = path{"spec", "template"}
		number, _ = strconv.ParseInt(kept.GetAnnotations()["deployment.kubernetes.io/revision"], 10, 64) // without: 0, no revision
	}
	template := plain(at.get(kept.Object))
	return record{revision{api, kept.GetName(), string(kept.GetUID()), digest(template)}, number, template}
}

// plain is a pod template without what only its record has: the label that a
// Deployment's controller adds, the marker of a ControllerRevision's patch.
func plain(template any) map[string]any {
	m, _ := template.(map[string]any)
	m = runtime.DeepCopyJSON(m)
	delete(m, "$patch")
	if meta, ok := m["metadata"].(map[string]any); ok {
		if meta["creationTimestamp"] == nil {
			delete(meta, "creationTimestamp") // null or not there, by the version of the server
		}
		if labels, ok := meta["labels"].(map[string]any); ok {
			delete(labels, appsv1.DefaultDeploymentUniqueLabelKey)
		}
	}
	return m
}

// recall is an edit with the templates that its revisions stand for, which are
// still what the plan was made with.
func (c *cluster) recall(ctx context.Context, e edit) (edit, error) {
	fields := make([]field, len(e.Fields))
	for i, f := range e.Fields {
		fields[i] = f
		if f.ToIn == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, c.opts.Request)
		defer cancel()
		kept, err := c.at(edit{API: f.ToIn.API, Namespace: e.Namespace}).Get(ctx, f.ToIn.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return edit{}, fmt.Errorf("reading revision %s of %s: %w", f.ToIn.Name, e, errForgotten)
		case err != nil:
			return edit{}, fmt.Errorf("reading revision %s of %s: %w", f.ToIn.Name, e, err)
		}
		r := recorded(f.ToIn.API, kept)
		if r.revision != *f.ToIn {
			return edit{}, fmt.Errorf("revision %s of %s: %w", f.ToIn.Name, e, errForgotten)
		}
		fields[i] = field{Path: f.Path, To: r.template}
	}
	e.Fields = fields
	return e, nil
}
