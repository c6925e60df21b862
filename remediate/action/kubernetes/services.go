package kubernetes

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
)

// servicesOf lists the Services that select a pod.
func (c *cluster) servicesOf(ctx context.Context, pod *corev1.Pod) (out []corev1.Service, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Request)
	defer cancel()
	list, err := c.client.CoreV1().Services(pod.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing the Services of %s: %w", pod.Namespace, err)
	}
	for _, s := range list.Items {
		if len(s.Spec.Selector) > 0 && labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(pod.Labels)) {
			out = append(out, s)
		}
	}
	return out, nil
}

// ownerKeys are the keys of the labels by which the controllers above an object
// know it.
func (c *cluster) ownerKeys(ctx context.Context, o *unstructured.Unstructured) (map[string]bool, error) {
	keys := map[string]bool{}
	for range 3 {
		r := metav1.GetControllerOf(o)
		if r == nil || apiOf(r.Kind) == "" {
			break
		}
		above, err := c.get(ctx, apiOf(r.Kind), r.Kind, o.GetNamespace(), r.Name)
		if err != nil {
			return nil, err
		}
		match, _ := path{"spec", "selector", "matchLabels"}.get(above.Object).(map[string]any)
		for key := range match {
			keys[key] = true
		}
		expressions, _ := path{"spec", "selector", "matchExpressions"}.get(above.Object).([]any)
		for _, e := range expressions {
			m, _ := e.(map[string]any)
			if key, ok := m["key"].(string); ok {
				keys[key] = true
			}
		}
		o = above
	}
	return keys, nil
}

// serving are the uids of the pods that a Service sends requests to now: the
// ready endpoints of its slices.
func (c *cluster) serving(ctx context.Context, namespace, service string) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Request)
	defer cancel()
	list, err := c.client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{
		LabelSelector: labels.Set{discovery.LabelServiceName: service}.String(),
	})
	if err != nil {
		return nil, fmt.Errorf("listing the endpoints of Service %s/%s: %w", namespace, service, err)
	}
	uids := map[string]bool{}
	for _, slice := range list.Items {
		for _, e := range slice.Endpoints {
			if ready := e.Conditions.Ready; (ready == nil || *ready) && e.TargetRef != nil {
				uids[string(e.TargetRef.UID)] = true
			}
		}
	}
	return uids, nil
}

// readyPods are the uids of the pods with these labels that are ready.
func (c *cluster) readyPods(ctx context.Context, namespace string, selector labels.Set) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Request)
	defer cancel()
	list, err := c.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
	if err != nil {
		return nil, fmt.Errorf("listing the pods %s of %s: %w", selector, namespace, err)
	}
	uids := map[string]bool{}
	for i := range list.Items {
		if p := &list.Items[i]; p.DeletionTimestamp == nil && isReady(p) {
			uids[string(p.UID)] = true
		}
	}
	return uids, nil
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
