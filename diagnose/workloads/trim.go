package workloads

import (
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mirrorUID is the uid that the kubelet knows a static pod by.
const mirrorUID = corev1.MirrorPodAnnotationKey

// trim keeps of an object what the answers need: most of a cluster's memory is in
// the rest.
func trim(object any) (any, error) {
	switch o := object.(type) {
	case *corev1.Pod:
		return pod(o), nil
	case *corev1.Service:
		m := meta(o.ObjectMeta)
		m.Labels = nil
		return &corev1.Service{ObjectMeta: m, Spec: corev1.ServiceSpec{Selector: o.Spec.Selector, ClusterIPs: o.Spec.ClusterIPs, ExternalIPs: o.Spec.ExternalIPs},
			Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: o.Status.LoadBalancer.Ingress}}}, nil
	case *discoveryv1.EndpointSlice:
		m := meta(o.ObjectMeta)
		m.Labels = map[string]string{discoveryv1.LabelServiceName: o.Labels[discoveryv1.LabelServiceName]}
		s := &discoveryv1.EndpointSlice{ObjectMeta: m}
		for _, e := range o.Endpoints {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: e.Addresses, TargetRef: e.TargetRef})
		}
		return s, nil
	case *appsv1.ReplicaSet:
		m := meta(o.ObjectMeta)
		m.Labels = nil
		return &appsv1.ReplicaSet{ObjectMeta: m}, nil
	case *batchv1.Job:
		m := meta(o.ObjectMeta)
		m.Labels = nil
		return &batchv1.Job{ObjectMeta: m}, nil
	}
	return object, nil // a tombstone
}

// pod keeps the container's names, for an alert may name one.
func pod(p *corev1.Pod) *corev1.Pod {
	t := &corev1.Pod{ObjectMeta: meta(p.ObjectMeta), Spec: corev1.PodSpec{NodeName: p.Spec.NodeName, HostNetwork: p.Spec.HostNetwork},
		Status: corev1.PodStatus{Phase: p.Status.Phase, PodIP: p.Status.PodIP, PodIPs: p.Status.PodIPs}}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status != corev1.ConditionTrue { // of the many that are ready, nothing
			t.Status.Conditions = []corev1.PodCondition{{Type: c.Type, Status: c.Status}}
		}
	}
	if uid := p.Annotations[mirrorUID]; uid != "" {
		t.Annotations = map[string]string{mirrorUID: uid}
	}
	for _, c := range p.Spec.Containers {
		t.Spec.Containers = append(t.Spec.Containers, corev1.Container{Name: c.Name})
	}
	return t
}

// meta keeps the names and who made it.
func meta(m metav1.ObjectMeta) metav1.ObjectMeta {
	t := metav1.ObjectMeta{Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion, DeletionTimestamp: m.DeletionTimestamp, Labels: m.Labels}
	if c := metav1.GetControllerOfNoCopy(&m); c != nil {
		t.OwnerReferences = []metav1.OwnerReference{{Kind: c.Kind, Name: c.Name, Controller: c.Controller}}
	}
	return t
}

// podIPs are the addresses that are a pod's own: one on the network of its node
// shares the node's.
func podIPs(object any) ([]string, error) {
	p, ok := object.(*corev1.Pod)
	if !ok || p.Spec.HostNetwork || p.Status.Phase != corev1.PodRunning {
		return nil, nil
	}
	var ips []string
	for _, ip := range p.Status.PodIPs {
		ips = append(ips, ip.IP)
	}
	if len(ips) == 0 && p.Status.PodIP != "" {
		ips = append(ips, p.Status.PodIP)
	}
	return ips, nil
}

// serviceIPs are the addresses that are a service's.
func serviceIPs(object any) ([]string, error) {
	s, ok := object.(*corev1.Service)
	if !ok {
		return nil, nil
	}
	var ips []string
	for _, ip := range s.Spec.ClusterIPs {
		if ip != corev1.ClusterIPNone {
			ips = append(ips, ip)
		}
	}
	return ips, nil
}
