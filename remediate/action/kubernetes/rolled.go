package kubernetes

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// rolledOut says whether the controllers of the change's workloads have followed
// it: every replica is of the present template and available.
func (c *cluster) rolledOut(ctx context.Context, ch change) (bool, string, error) {
	for _, e := range ch.Edits {
		o, err := c.read(ctx, e)
		if err != nil {
			return false, "", err
		}
		var why string
		switch e.Kind {
		case "Deployment":
			d, err := typed[appsv1.Deployment](o)
			if err != nil {
				return false, "", err
			}
			why, err = deploymentWaits(d)
			// Before the change the same condition says only why it is made.
			if s, _ := e.stands(o); err != nil && s == asWanted {
				return false, "", err
			}
		case "StatefulSet":
			s, err := typed[appsv1.StatefulSet](o)
			if err != nil {
				return false, "", err
			}
			why = statefulSetWaits(s)
		case "DaemonSet":
			d, err := typed[appsv1.DaemonSet](o)
			if err != nil {
				return false, "", err
			}
			why = daemonSetWaits(d)
		}
		if why != "" {
			return false, e.String() + ": " + why, nil
		}
	}
	return true, "", nil
}

// errStuck: the cluster itself says that the change will not show.
var errStuck = errors.New("waiting longer does not help")

// transient reports whether looking again may give another answer.
func transient(err error) bool {
	for _, end := range []error{errStuck, errNoObject, errChanged, context.Canceled} {
		if errors.Is(err, end) {
			return false
		}
	}
	return !apierrors.IsForbidden(err) && !apierrors.IsUnauthorized(err)
}

// deploymentWaits is what a rollout waits for, as `kubectl rollout status` has it.
func deploymentWaits(d *appsv1.Deployment) (string, error) {
	s, want := d.Status, replicas(d.Spec.Replicas)
	if s.ObservedGeneration < d.Generation {
		return "the controller has not seen the change", nil
	}
	for _, c := range s.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse && c.Reason == "ProgressDeadlineExceeded" {
			return c.Message, fmt.Errorf("the rollout of deployment %s/%s does not progress: %s: %w", d.Namespace, d.Name, c.Message, errStuck)
		}
	}
	switch {
	case s.UpdatedReplicas < want:
		return fmt.Sprintf("%d of %d pods are updated", s.UpdatedReplicas, want), nil
	case s.Replicas > s.UpdatedReplicas:
		return fmt.Sprintf("%d old pods are still there", s.Replicas-s.UpdatedReplicas), nil
	case s.AvailableReplicas < want:
		return fmt.Sprintf("%d of %d pods are available", s.AvailableReplicas, want), nil
	case s.Replicas > want:
		return fmt.Sprintf("%d pods are too many", s.Replicas-want), nil
	}
	return "", nil
}

func statefulSetWaits(s *appsv1.StatefulSet) string {
	want := replicas(s.Spec.Replicas)
	partition := int32(0)
	if r := s.Spec.UpdateStrategy.RollingUpdate; r != nil && r.Partition != nil {
		partition = *r.Partition
	}
	switch {
	case s.Status.ObservedGeneration < s.Generation:
		return "the controller has not seen the change"
	case s.Status.Replicas != want:
		return fmt.Sprintf("there are %d of %d pods", s.Status.Replicas, want)
	case s.Status.ReadyReplicas < want:
		return fmt.Sprintf("%d of %d pods are ready", s.Status.ReadyReplicas, want)
	case s.Status.UpdateRevision != s.Status.CurrentRevision && s.Status.UpdatedReplicas < want-partition:
		return fmt.Sprintf("%d of %d pods are updated", s.Status.UpdatedReplicas, want-partition)
	}
	return ""
}

func daemonSetWaits(d *appsv1.DaemonSet) string {
	s := d.Status
	switch {
	case s.ObservedGeneration < d.Generation:
		return "the controller has not seen the change"
	case s.UpdatedNumberScheduled < s.DesiredNumberScheduled:
		return fmt.Sprintf("%d of %d pods are updated", s.UpdatedNumberScheduled, s.DesiredNumberScheduled)
	case s.NumberAvailable < s.DesiredNumberScheduled:
		return fmt.Sprintf("%d of %d pods are available", s.NumberAvailable, s.DesiredNumberScheduled)
	}
	return ""
}

func replicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}
