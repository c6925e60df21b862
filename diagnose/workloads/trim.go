package workloads

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mirrorUID is the uid that the kubelet knows a static pod by.
const mirrorUID = corev1.MirrorPodAnnotationKey

// trim keeps of an object what the answers need.
func trim(object any) (any, error) {
	switch o := object.(type) {
	case *corev1.Pod:
		return podOf(o), nil
	case *corev1.Service:
		return serviceOf(o), nil
	case *discoveryv1.EndpointSlice:
		return sliceOf(o), nil
	case *appsv1.ReplicaSet:
		m := metaOf(o.ObjectMeta)
		return &m, nil
	case *batchv1.Job:
		m := metaOf(o.ObjectMeta)
		return &m, nil
	}
	return object, nil // a tombstone, or one that is trimmed
}

// podOf keeps the containers' names, for an alert may name one.
func podOf(p *corev1.Pod) *pod {
	t := &pod{meta: metaOf(p.ObjectMeta), uid: string(p.UID), node: shared(p.Spec.NodeName), labels: pairsOf(p.Labels),
		running: p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil && p.Spec.NodeName != "",
		ended:   p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed,
		unready: slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status != corev1.ConditionTrue
		}), ip: p.Status.PodIP}
	if uid := p.Annotations[mirrorUID]; uid != "" {
		t.uid = uid
	}
	t.containers = make([]string, 0, len(p.Spec.Containers))
	for _, c := range p.Spec.Containers {
		t.containers = append(t.containers, shared(c.Name))
	}
	// One on the network of its node shares the node's addresses.
	if p.Spec.HostNetwork || p.Status.Phase != corev1.PodRunning {
		return t
	}
	for _, ip := range p.Status.PodIPs {
		t.ips = append(t.ips, ip.IP)
	}
	if len(t.ips) == 0 && p.Status.PodIP != "" {
		t.ips = []string{p.Status.PodIP}
	}
	return t
}

// serviceOf keeps the addresses that are the service's own.
func serviceOf(s *corev1.Service) *service {
	t := &service{meta: metaOf(s.ObjectMeta), selector: s.Spec.Selector}
	for _, ip := range s.Spec.ClusterIPs {
		if ip != corev1.ClusterIPNone {
			t.ips = append(t.ips, ip)
		}
	}
	return t
}

func sliceOf(s *discoveryv1.EndpointSlice) *slice {
	t := &slice{meta: metaOf(s.ObjectMeta), service: shared(s.Labels[discoveryv1.LabelServiceName])}
	for _, e := range s.Endpoints {
		if r := e.TargetRef; r != nil && r.Kind == "Pod" {
			t.endpoints = append(t.endpoints, endpoint{pod: r.Name})
			continue
		}
		t.endpoints = append(t.endpoints, endpoint{addresses: e.Addresses})
	}
	return t
}

// metaOf keeps the names and who made it.
func metaOf(m metav1.ObjectMeta) meta {
	t := meta{namespace: shared(m.Namespace), name: m.Name, version: m.ResourceVersion}
	if c := metav1.GetControllerOfNoCopy(&m); c != nil {
		t.controller = shared(c.Kind + "/" + c.Name)
	}
	return t
}

// podIPs and serviceIPs index by addresses.
func podIPs(object any) ([]string, error) {
	if p, ok := object.(*pod); ok {
		return p.ips, nil
	}
	return nil, nil
}

func serviceIPs(object any) ([]string, error) {
	if s, ok := object.(*service); ok {
		return s.ips, nil
	}
	return nil, nil
}
