package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// errNoObject: the object of an edit is not there any more, or another has its name.
var errNoObject = errors.New("it is gone")

// converge brings an object to its edit: reads it, checks that it is the same
// one (uid) and that its fields are as the plan shows, and patches it, bound to
// what was just read. Whatever changes between read and patch is a conflict, and
// everything is checked again. An API server that does not answer is asked again
// until ctx ends: giving up on it would leave a change half known.
//
// already is true when the fields were as wanted before this call. sent says,
// also with an error, that a patch went out which may have been stored.
func (c *cluster) converge(ctx context.Context, e edit) (o *unstructured.Unstructured, already, sent bool, err error) {
	var last error
	for try, refusals := 0, 0; refusals < attempts; try++ {
		if err := sleep(ctx, min(time.Duration(try)*50*time.Millisecond, time.Second)); err != nil {
			if last != nil {
				err = fmt.Errorf("%w (the last answer: %w)", err, last)
			}
			return nil, false, sent, fmt.Errorf("changing %s: %w", e, err)
		}
		o, err = c.read(ctx, e)
		switch {
		case errors.Is(err, errNoObject), apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
			return nil, false, sent, err
		case err != nil:
			last = err // the API server is away for a moment
			continue
		}
		switch s, what := e.stands(o); s {
		case asWanted:
			return o, !sent, sent, nil // after a patch whose answer was lost it is this call's own
		case otherwise:
			return nil, false, sent, fmt.Errorf("%s: %s: %w", e, what, errChanged)
		}
		whole, err := c.recall(ctx, e)
		switch {
		case errors.Is(err, errForgotten), apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
			return nil, false, sent, err
		case err != nil:
			last = err
			continue
		}
		answer, err := c.write(ctx, whole, o)
		if err == nil {
			return answer, false, true, nil
		}
		last, sent = err, sent || maybeStored(err)
		switch {
		case apierrors.IsConflict(err), apierrors.IsInternalError(err), apierrors.IsTooManyRequests(err):
			refusals++ // changed meanwhile, or not now
		case maybeStored(err): // no answer: the next read shows what is
		default:
			return nil, false, sent, fmt.Errorf("changing %s: %w", e, err)
		}
	}
	return nil, false, sent, fmt.Errorf("changing %s: no success in %d attempts: %w", e, attempts, last)
}

// read gets the object of e; errNoObject when it is not there, is being deleted,
// or another has its name.
func (c *cluster) read(ctx context.Context, e edit) (*unstructured.Unstructured, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Request)
	defer cancel()
	o, err := c.at(e).Get(ctx, e.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("reading %s: %w", e, errNoObject)
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", e, err)
	case string(o.GetUID()) != e.UID:
		return nil, fmt.Errorf("%s was replaced (uid %s, was %s): %w", e, o.GetUID(), e.UID, errNoObject)
	case o.GetDeletionTimestamp() != nil:
		return nil, fmt.Errorf("%s is being deleted: %w", e, errNoObject)
	}
	return o, nil
}

// write patches the object o, which was just read, to e.
func (c *cluster) write(ctx context.Context, e edit, o *unstructured.Unstructured, dryRun ...string) (*unstructured.Unstructured, error) {
	body, err := e.patch(o)
	if err != nil {
		return nil, fmt.Errorf("writing the patch of %s: %w", e, err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.Request)
	defer cancel()
	var sub []string
	if e.Sub != "" {
		sub = append(sub, e.Sub)
	}
	return c.at(e).Patch(ctx, e.Name, types.MergePatchType, body, metav1.PatchOptions{DryRun: dryRun, FieldManager: c.opts.FieldManager}, sub...)
}

// rehearse sends the very patch as a server-side dry run: RBAC, admission,
// quotas and validation answer, and for the event on the object the authorizer
// alone. An answer that is not what the edit wants is an
// error: an admission webhook changes it, and the plan would not be what happens.
func (c *cluster) rehearse(ctx context.Context, e edit) error {
	if err := may(ctx, c.client, c.opts, announcing(e.Namespace)); err != nil {
		return err
	}
	for try := 1; ; try++ {
		o, err := c.read(ctx, e)
		if err != nil {
			return err
		}
		whole, err := c.recall(ctx, e)
		if err != nil {
			return err
		}
		answer, err := c.write(ctx, whole, o, metav1.DryRunAll)
		if apierrors.IsConflict(err) && try < attempts {
			continue // a status was written meanwhile
		}
		if err != nil {
			return fmt.Errorf("asking the API server for a dry run of the change of %s: %w", e, err)
		}
		if s, what := e.stands(answer); s != asWanted {
			return fmt.Errorf("the API server would store something else in %s: %s", e, orElse(what, "the change is lost"))
		}
		return nil
	}
}

func (c *cluster) at(e edit) dynamic.ResourceInterface {
	r := c.dyn.Resource(e.resource())
	if e.Namespace == "" {
		return r
	}
	return r.Namespace(e.Namespace)
}
