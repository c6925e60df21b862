package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kmend/kmend/remediate/action"
)

// resize is one change of one container, as the plan and the execution carry it.
type resize struct {
	namespace, pod, uid, container string
	plan                           string // resourceVersion of the pod that the plan was made from: names the change
	generation                     int64  // of the pod's spec that the plan was made from; 0: any will do
	from, to                       cpu
	allowRestart                   bool
}

func (r resize) encode() map[string]string {
	return map[string]string{
		"namespace": r.namespace, "pod": r.pod, "uid": r.uid, "container": r.container, "plan": r.plan,
		"limit_m": itoa(r.to.limit), "request_m": itoa(r.to.request),
		"was_limit_m": itoa(r.from.limit), "was_request_m": itoa(r.from.request),
		"allow_restart": strconv.FormatBool(r.allowRestart), "generation": itoa(r.generation),
	}
}

func decode(m map[string]string) (r resize, err error) {
	r = resize{namespace: m["namespace"], pod: m["pod"], uid: m["uid"], container: m["container"], plan: m["plan"], allowRestart: m["allow_restart"] == "true"}
	for key, to := range map[string]*int64{
		"limit_m": &r.to.limit, "request_m": &r.to.request, "was_limit_m": &r.from.limit, "was_request_m": &r.from.request,
	} {
		var e error
		*to, e = strconv.ParseInt(m[key], 10, 64)
		err = errors.Join(err, e)
	}
	if g, ok := m["generation"]; ok { // plans of before have none
		var e error
		r.generation, e = strconv.ParseInt(g, 10, 64)
		err = errors.Join(err, e)
	}
	if r.namespace == "" || r.pod == "" || r.uid == "" || r.container == "" || r.to.limit <= 0 || r.from.limit <= 0 {
		err = errors.Join(err, errors.New("it names no pod, container or limit"))
	}
	return r, err
}

// back is the change that puts r back, whatever else the spec is by then.
func (r resize) back() resize {
	r.from, r.to, r.generation = r.to, r.from, 0
	return r
}

// errGone: the pod that was resized is not there any more.
var errGone = errors.New("the pod is gone")

// errChanged: somebody else changed the resources.
var errChanged = errors.New("somebody changed it since, so it stays")

// attempts bounds how often set patches again after the API server said no. The
// kubelet and controllers write a busy pod's status every second or so, far
// slower than a read and a patch.
const attempts = 10

// set brings the container from r.from to r.to. already is true when it was
// there before this call. An API server that does not answer is asked again
// until ctx ends: giving up on it would leave a change half known. sent says,
// also with an error, that a patch went out which may have been stored, so that
// the resources may be r.to by now or later.
//
// The plan was made minutes ago, and every status update since moved the pod's
// resourceVersion, so that one cannot be held as a precondition. What must hold
// is that it is the same pod (uid) with the spec (generation, which status
// updates leave alone) and the resources that the plan shows; that is checked on
// a fresh read, and the patch carries the fresh resourceVersion, so that
// whatever changes between read and patch is a conflict and everything is
// checked again.
func (a *ResizeCPU) set(ctx context.Context, r resize) (pod *corev1.Pod, already, sent bool, err error) {
	var last error
	for try, refusals := 0, 0; refusals < attempts; try++ {
		if err := sleep(ctx, min(time.Duration(try)*50*time.Millisecond, time.Second)); err != nil {
			if last != nil {
				err = fmt.Errorf("%w (the last answer: %w)", err, last)
			}
			return nil, false, sent, fmt.Errorf("resizing pod %s/%s: %w", r.namespace, r.pod, err)
		}
		pod, err = a.read(ctx, r)
		switch {
		case errors.Is(err, errGone), apierrors.IsForbidden(err):
			return nil, false, sent, err
		case err != nil:
			last = err // the API server is away for a moment
			continue
		}
		c, ok := container(pod, r.container)
		if !ok {
			return nil, false, sent, fmt.Errorf("pod %s has no container %s", ref(pod), r.container)
		}
		switch now := cpuOf(c.Resources); now {
		case r.to:
			return pod, !sent, sent, nil // after a patch whose answer was lost it is this call's own
		case r.from:
		default:
			return nil, false, sent, fmt.Errorf("container %s of pod %s has %s now and had %s: %w", r.container, ref(pod), now, r.from, errChanged)
		}
		if r.generation != 0 && pod.Generation != r.generation {
			return nil, false, sent, fmt.Errorf("pod %s has a spec of generation %d now and the plan was made for %d: %w", ref(pod), pod.Generation, r.generation, errChanged)
		}
		answer, err := a.patch(ctx, pod, r.container, r.from, r.to)
		if err == nil {
			return answer, false, true, nil
		}
		last, sent = err, sent || maybeStored(err)
		switch {
		case apierrors.IsConflict(err), apierrors.IsInternalError(err), apierrors.IsTooManyRequests(err):
			refusals++ // changed meanwhile, or not now
		case maybeStored(err): // no answer: the next read shows what is
		default:
			return nil, false, sent, fmt.Errorf("resizing pod %s: %w", ref(pod), err)
		}
	}
	return nil, false, sent, fmt.Errorf("resizing pod %s/%s: no success in %d attempts: %w", r.namespace, r.pod, attempts, last)
}

// maybeStored reports whether a patch with this error may have been stored all
// the same: everything but the API server's own no (4xx). A timeout of etcd or
// an answer that was lost says nothing.
func maybeStored(err error) bool {
	var s apierrors.APIStatus
	if !errors.As(err, &s) {
		return true
	}
	code := s.Status().Code
	return code < 400 || code >= 500 || code == http.StatusRequestTimeout
}

// read gets the pod of r; errGone when it is not there or another has its name.
func (a *ResizeCPU) read(ctx context.Context, r resize) (*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, a.opts.Request)
	defer cancel()
	pod, err := a.client.CoreV1().Pods(r.namespace).Get(ctx, r.pod, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("reading pod %s/%s: %w", r.namespace, r.pod, errGone)
	case err != nil:
		return nil, fmt.Errorf("reading pod %s/%s: %w", r.namespace, r.pod, err)
	case string(pod.UID) != r.uid:
		return nil, fmt.Errorf("pod %s was replaced (uid %s, was %s): %w", ref(pod), pod.UID, r.uid, errGone)
	case pod.DeletionTimestamp != nil, pod.Status.Phase == corev1.PodSucceeded, pod.Status.Phase == corev1.PodFailed:
		return nil, fmt.Errorf("pod %s is ending: %w", ref(pod), errGone)
	}
	return pod, nil
}

// patch writes the container's CPU through the resize subresource, bound to the
// uid and resourceVersion of pod.
func (a *ResizeCPU) patch(ctx context.Context, pod *corev1.Pod, name string, from, to cpu, dryRun ...string) (*corev1.Pod, error) {
	change := corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceCPU: *quantity(to.limit)}}
	if to.request != from.request {
		change.Requests = corev1.ResourceList{corev1.ResourceCPU: *quantity(to.request)}
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID, "resourceVersion": pod.ResourceVersion},
		"spec":     map[string]any{"containers": []any{map[string]any{"name": name, "resources": change}}},
	})
	if err != nil {
		return nil, fmt.Errorf("writing the patch: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, a.opts.Request)
	defer cancel()
	answer, err := a.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, body,
		metav1.PatchOptions{DryRun: dryRun, FieldManager: a.opts.FieldManager}, "resize")
	if apierrors.IsNotFound(err) && !strings.Contains(err.Error(), pod.Name) {
		return nil, fmt.Errorf("this cluster has no in-place resize, which needs Kubernetes 1.33 or newer: %w", err)
	}
	return answer, err
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func number(milli int64) string { return strings.TrimSuffix(action.CPUs(milli).String(), " CPU") }

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
