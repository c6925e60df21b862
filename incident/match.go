package incident

import "cmp"

// Over is t with what it leaves open filled in from the target of an alert: an
// agent resolves paths and identifiers, and the alert knows the cluster.
func (t Target) Over(alert Target) Target {
	return Target{
		Cluster:     cmp.Or(t.Cluster, alert.Cluster),
		Node:        cmp.Or(t.Node, alert.Node),
		Namespace:   cmp.Or(t.Namespace, alert.Namespace),
		Pod:         cmp.Or(t.Pod, alert.Pod),
		PodUID:      cmp.Or(t.PodUID, alert.PodUID),
		Container:   cmp.Or(t.Container, alert.Container),
		ContainerID: cmp.Or(t.ContainerID, alert.ContainerID),
		Workload:    cmp.Or(t.Workload, alert.Workload),
		Service:     cmp.Or(t.Service, alert.Service),
		Unit:        cmp.Or(t.Unit, alert.Unit),
		Cgroup:      cmp.Or(t.Cgroup, alert.Cgroup),
		PID:         cmp.Or(t.PID, alert.PID),
	}
}

// Differs names a field in which the two targets are certainly not the same
// thing, empty when there is none. A field that one of them leaves open says
// nothing, nor do a cgroup's path (a group has one in each hierarchy) and the
// node's name (short for one, fully qualified for the other).
func (t Target) Differs(u Target) string {
	for _, f := range []struct{ name, a, b string }{
		{"cluster", t.Cluster, u.Cluster},
		{"namespace", t.Namespace, u.Namespace},
		{"pod", t.Pod, u.Pod},
		{"podUID", t.PodUID, u.PodUID},
		{"container", t.Container, u.Container},
		{"containerID", t.ContainerID, u.ContainerID},
		{"workload", t.Workload, u.Workload},
		{"service", t.Service, u.Service},
		{"unit", t.Unit, u.Unit},
	} {
		if f.a != "" && f.b != "" && f.a != f.b {
			return f.name
		}
	}
	if t.PID != 0 && u.PID != 0 && t.PID != u.PID {
		return "pid"
	}
	return ""
}
