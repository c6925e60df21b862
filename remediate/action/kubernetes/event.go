package kubernetes

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	client "k8s.io/client-go/kubernetes"

	"github.com/kmend/kmend/incident"
)

// EventReason is the reason of every event that kubernetes.resize_cpu writes on a pod.
const EventReason = "KmendResizedCPU"

// ChangeReason is the reason of the events of all other actions.
const ChangeReason = "KmendChanged"

// maxMessage is the API's bound on the length of an event's message, in bytes.
const maxMessage = 1024

// tell writes an event on the pod, for those who look at the pod and not at
// kmend. An event that is not written does not fail the step: x.State says so.
func (a *ResizeCPU) tell(ctx context.Context, x *incident.Execution, r resize, kind, what, message string) {
	note(x, announcement{
		about: corev1.ObjectReference{
			APIVersion: "v1", Kind: "Pod", Namespace: r.namespace, Name: r.pod, UID: types.UID(r.uid),
			FieldPath: "spec.containers{" + r.container + "}",
		},
		reason: EventReason, kind: kind, what: what, message: message,
		change: fmt.Append(nil, r.uid, what, r.container, r.from, r.to, r.plan),
	}.write(ctx, a.client, a.opts))
}

// tell writes an event on every object of the change.
func (c *cluster) tell(ctx context.Context, x *incident.Execution, ch change, kind, what, message string) {
	for _, e := range ch.Edits {
		r := e.resource()
		note(x, announcement{
			about:  corev1.ObjectReference{APIVersion: r.GroupVersion().String(), Kind: e.Kind, Namespace: e.Namespace, Name: e.Name, UID: types.UID(e.UID)},
			reason: ChangeReason, kind: kind, what: what, message: message,
			change: fmt.Append(nil, what, ch.encode()["change"]),
		}.write(ctx, c.client, c.opts))
	}
}

// announcement is one event.
type announcement struct {
	about                       corev1.ObjectReference
	reason, kind, what, message string
	change                      []byte // names the change: what a crash repeats is one event all the same
}

func (n announcement) write(ctx context.Context, c client.Interface, opts Options) error {
	ctx, cancel := context.WithTimeout(ctx, opts.Request)
	defer cancel()
	if len(n.message) > maxMessage {
		n.message = strings.ToValidUTF8(n.message[:maxMessage], "")
	}
	namespace := orElse(n.about.Namespace, corev1.NamespaceDefault) // where events of nodes are
	now := metav1.NewTime(time.Now())
	sum := sha256.Sum256(n.change)
	_, err := c.CoreV1().Events(namespace).Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: namespace, Name: strings.TrimRight(n.about.Name[:min(len(n.about.Name), 220)], "-.") + ".kmend." + hex.EncodeToString(sum[:8])},
		InvolvedObject: n.about,
		Reason:         n.reason, Message: n.message, Type: n.kind, Action: n.what, Count: 1,
		FirstTimestamp: now, LastTimestamp: now,
		Source:              corev1.EventSource{Component: "kmend", Host: opts.Instance},
		ReportingController: "kmend.dev/kmend", ReportingInstance: opts.Instance,
	}, metav1.CreateOptions{FieldManager: opts.FieldManager})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// note keeps in x that an event was not written.
func note(x *incident.Execution, err error) {
	if err == nil {
		return
	}
	x.State = maps.Clone(x.State)
	if x.State == nil {
		x.State = map[string]string{}
	}
	x.State["event"] = "not written: " + err.Error()
}
