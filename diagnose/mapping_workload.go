package diagnose

import (
	"slices"
	"strings"

	"github.com/kmend/kmend/incident"
)

// workload reads a Deployment and its like: its pods are the target.
func (m Mapping) workload(alert incident.Alert, t incident.Target) (incident.Target, bool, string) {
	for _, kind := range m.Workloads {
		l, ok := first(alert, kind.Labels)
		if !ok || m.ofExporter(alert, l.value) {
			continue
		}
		t, ok, why := m.behind(alert, t, l)
		if !ok {
			return t, false, why
		}
		t.Workload = kind.Kind + "/" + l.value
		return t, true, ""
	}
	return t, false, ""
}

// service reads a Service, whose pods are the target. The label `service` is often
// only the Service that Prometheus scrapes an exporter through: it does not count
// where the series has brought one of its own, where it is an exporter's, and where
// a label names the node.
func (m Mapping) service(alert incident.Alert, t incident.Target) (incident.Target, bool, string) {
	labels := m.Service
	if exported(alert, labels) {
		labels = prefixed(labels)
	}
	l, ok := first(alert, labels)
	if !ok || l.label == "service" && (t.Node != "" || m.ofExporter(alert, l.value)) {
		return t, false, ""
	}
	t, ok, why := m.behind(alert, t, l)
	if !ok {
		return t, false, why
	}
	t.Service = l.value
	return t, true, ""
}

// slo looks up what a configured SLO is about.
func (m Mapping) slo(alert incident.Alert, t incident.Target) (incident.Target, bool, string) {
	for _, label := range m.SLO {
		if about, ok := m.SLOs[alert.Labels[label]]; ok {
			about.Cluster = t.Cluster
			return about, true, ""
		}
	}
	return t, false, ""
}

// behind checks the name of what pods are behind, and adds its namespace and the
// container, where the alert is about one. Without a namespace it is nothing of
// Kubernetes: "replicaset" is MongoDB's word, too.
func (m Mapping) behind(alert incident.Alert, t incident.Target, l found) (_ incident.Target, ok bool, why string) {
	namespace, ok := first(alert, m.Namespace)
	if !ok {
		return t, false, ""
	}
	for _, check := range []struct {
		found
		problem string
	}{{namespace, dnsLabel(namespace.value)}, {l, dnsSubdomain(l.value)}} {
		if check.problem != "" {
			return refuse(check.found, check.problem)
		}
	}
	t.Namespace = namespace.value
	containers := m.Container
	if m.ownPod(alert) || m.ownContainer(alert) {
		containers = prefixed(containers)
	}
	if c, ok := first(alert, containers); ok && c.value != "POD" && dnsLabel(c.value) == "" {
		t.Container = c.value
	}
	return t, true, ""
}

// ofExporter reports whether a name is that of the exporter that was scraped: of a job
// that speaks about others, or of the kubelet, which cAdvisor's series come from.
func (m Mapping) ofExporter(alert incident.Alert, name string) bool {
	job := alert.Labels["job"]
	return (job == "kubelet" || slices.Contains(m.Exporters, job)) && strings.Contains("-"+name+"-", "-"+job+"-")
}

func (m Mapping) workloadLabels() (all []string) {
	for _, kind := range m.Workloads {
		all = append(all, kind.Labels...)
	}
	return all
}
