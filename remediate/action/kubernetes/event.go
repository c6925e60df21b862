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

	"github.com/kmend/kmend/incident"
)

// EventReason is the reason of every event that this action writes on a pod.
const EventReason = "KmendResizedCPU"

// maxMessage is the API's bound on the length of an event's message, in bytes.
const maxMessage = 1024

// tell writes an event on the pod, for those who look at the pod and not at
// kmend. An event that is not written does not fail the step: x.State says so.
func (a *ResizeCPU) tell(ctx context.Context, x *incident.Execution, r resize, kind, what, message string) {
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "")
	}
	now := metav1.NewTime(time.Now())
	// The name is the change's: what a crash repeats is one event all the same.
	sum := sha256.Sum256(fmt.Append(nil, r.uid, what, r.container, r.from, r.to, r.plan))
	_, err := a.client.CoreV1().Events(r.namespace).Create(ctx, &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: strings.TrimRight(r.pod[:min(len(r.pod), 220)], "-.") + ".kmend." + hex.EncodeToString(sum[:8])},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: "v1", Kind: "Pod", Namespace: r.namespace, Name: r.pod, UID: types.UID(r.uid),
			FieldPath: "spec.containers{" + r.container + "}",
		},
		Reason: EventReason, Message: message, Type: kind, Action: what, Count: 1,
		FirstTimestamp: now, LastTimestamp: now,
		Source:              corev1.EventSource{Component: "kmend", Host: a.opts.Instance},
		ReportingController: "kmend.dev/kmend", ReportingInstance: a.opts.Instance,
	}, metav1.CreateOptions{FieldManager: a.opts.FieldManager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		x.State = maps.Clone(x.State)
		if x.State == nil {
			x.State = map[string]string{}
		}
		x.State["event"] = "not written: " + err.Error()
	}
}
