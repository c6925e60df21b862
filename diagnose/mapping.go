package diagnose

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kmend/kmend/incident"
)

// Mapping finds the target that an alert's labels name. Each list holds label
// names, the first that the alert has wins. docs/targets.md explains the rules.
type Mapping struct {
	// Cluster is the cluster this kmend serves. An alert whose `cluster` label
	// names another one has no target here. Empty: the label is not looked at.
	Cluster string

	Namespace []string
	Pod       []string
	Container []string
	Node      []string
	Cgroup    []string
	PID       []string
	Unit      []string

	// Workloads are the labels that name what makes pods, by its kind; the first
	// kind that the alert names wins.
	Workloads []WorkloadLabels
	Service   []string
	// SLO are labels that hold the name of one of SLOs.
	SLO  []string
	SLOs map[string]incident.Target

	// Exporters are values of the `job` label of programs that speak about other
	// things than themselves. A pod or container label of their series that names
	// the exporter itself is left out.
	Exporters []string
}

// WorkloadLabels are the labels that name a workload of one kind.
type WorkloadLabels struct {
	Kind   string // "Deployment"
	Labels []string
}

// DefaultMapping reads the labels of kube-prometheus, of node_exporter's systemd
// collector, and the plain names that a rule on a host without Kubernetes sets.
// `instance` is not among the node labels: it mostly is the exporter's host:port.
func DefaultMapping() Mapping {
	return Mapping{
		Namespace: []string{"exported_namespace", "namespace", "kubernetes_namespace"},
		Pod:       []string{"exported_pod", "pod", "pod_name", "kubernetes_pod_name"},
		Container: []string{"exported_container", "container", "container_name"},
		Node:      []string{"exported_node", "node", "kubernetes_node", "nodename", "hostname"},
		Cgroup:    []string{"cgroup"},
		PID:       []string{"pid"},
		Unit:      []string{"systemd_unit", "unit", "name"},
		Workloads: []WorkloadLabels{
			{"Deployment", []string{"deployment"}},
			{"StatefulSet", []string{"statefulset"}},
			{"DaemonSet", []string{"daemonset"}},
			{"ReplicaSet", []string{"replicaset"}},
			{"Job", []string{"job_name"}},
			{"CronJob", []string{"cronjob"}},
		},
		Service:   []string{"exported_service", "destination_service_name", "service"},
		SLO:       []string{"slo", "slo_name", "sloth_id", "sloth_slo", "sloth_service"},
		Exporters: []string{"kube-state-metrics", "node-exporter"},
	}
}

// found is a label that was read.
type found struct{ label, value string }

// Target says what the alert is about. ok is false when the labels name nothing
// that can be measured, or something that no name of a system can be; why then
// is a sentence for the timeline. The label values are untrusted: what comes out
// is valid as a Kubernetes name, a path, a number or a unit name.
//
// One kind of target is chosen: a pod, else a workload, else a systemd unit, else a
// cgroup, else a process, else what an SLO is about, else a service, else a whole
// node.
func (m Mapping) Target(alert incident.Alert) (t incident.Target, ok bool, why string) {
	t.Cluster = m.Cluster
	if c := alert.Labels["cluster"]; m.Cluster != "" && c != "" && c != m.Cluster {
		return incident.Target{}, false, fmt.Sprintf("label cluster is %s; this kmend serves %q", quote(c), m.Cluster)
	}
	node, named := first(alert, m.Node)
	if named {
		name, problem := nodeName(node.value)
		if problem != "" {
			return refuse(node, problem)
		}
		t.Node = name
	}
	for _, kind := range []func(incident.Alert, incident.Target) (incident.Target, bool, string){m.pod, m.workload, m.unit, m.cgroup, m.pid, m.slo, m.service} {
		if t, ok, why := kind(alert, t); ok || why != "" {
			return t, ok, why
		}
	}
	if named {
		return t, true, ""
	}
	return incident.Target{}, false, m.nothing(alert)
}

// pod reads a pod and its container. Prometheus renames a label of the thing
// that is measured to exported_NAME when the scraped exporter has a label of the
// same name. So where any exported_ label of the three is there, those without
// the prefix belong to the exporter.
func (m Mapping) pod(alert incident.Alert, t incident.Target) (incident.Target, bool, string) {
	pods, containers := m.Pod, m.Container
	if m.ownPod(alert) {
		pods, containers = prefixed(pods), prefixed(containers)
	} else if m.ownContainer(alert) {
		containers = prefixed(containers)
	}
	pod, ok := first(alert, pods)
	if !ok {
		return t, false, ""
	}
	namespace, ok := first(alert, m.Namespace)
	if !ok {
		return incident.Target{}, false, fmt.Sprintf("label %s is %s, and no label names its namespace (looked for %s)", pod.label, quote(pod.value), strings.Join(m.Namespace, ", "))
	}
	if problem := dnsLabel(namespace.value); problem != "" {
		return refuse(namespace, problem)
	}
	if problem := dnsSubdomain(pod.value); problem != "" {
		return refuse(pod, problem)
	}
	t.Namespace, t.Pod = namespace.value, pod.value
	// cAdvisor calls a pod's pause container POD: that is the whole pod.
	if container, ok := first(alert, containers); ok && container.value != "POD" {
		if problem := dnsLabel(container.value); problem != "" {
			return refuse(container, problem)
		}
		t.Container = container.value
	}
	return t, true, ""
}

func (m Mapping) unit(alert incident.Alert, t incident.Target) (incident.Target, bool, string) {
	for _, label := range m.Unit {
		value := alert.Labels[label]
		if value == "" || label == "name" && !hasUnitSuffix(value) {
			continue // `name` is a unit only when it looks like one: many exporters have a label of that name
		}
		if problem := unitName(value); problem != "" {
			return refuse(found{label, value}, problem)
		}
		t.Unit = value
		return t, true, ""
	}
	return t, false, ""
}

func (m Mapping) cgroup(alert incident.Alert, t incident.Target) (incident.Target, bool, string) {
	l, ok := first(alert, m.Cgroup)
	if !ok {
		return t, false, ""
	}
	if problem := cgroupPath(l.value); problem != "" {
		return refuse(l, problem)
	}
	t.Cgroup = l.value
	return t, true, ""
}

func (m Mapping) pid(alert incident.Alert, t incident.Target) (incident.Target, bool, string) {
	l, ok := first(alert, m.PID)
	if !ok {
		return t, false, ""
	}
	pid, err := strconv.Atoi(l.value)
	if err != nil || pid < 1 || pid > maxPID || l.value != strconv.Itoa(pid) {
		return refuse(l, fmt.Sprintf("no process id; want a whole number from 1 to %d", maxPID))
	}
	t.PID = pid
	return t, true, ""
}

// ownPod reports whether the labels pod and container are those of the exporter.
func (m Mapping) ownPod(alert incident.Alert) bool {
	if exported(alert, m.Namespace, m.Pod, m.Container) {
		return true
	}
	job := alert.Labels["job"]
	return slices.Contains(m.Exporters, job) && strings.Contains("-"+alert.Labels["pod"]+"-", "-"+job+"-")
}

// ownContainer reports whether the container label is that of the exporter
// although the pod label is not: kube-state-metrics is scraped with honorLabels,
// and its series about pods without a container get the container it is scraped
// through.
func (m Mapping) ownContainer(alert incident.Alert) bool {
	c := alert.Labels["container"]
	return slices.Contains(m.Exporters, alert.Labels["job"]) && (slices.Contains(m.Exporters, c) || strings.HasPrefix(c, "kube-rbac-proxy"))
}

// nothing says what was looked for in vain.
func (m Mapping) nothing(alert incident.Alert) string {
	if pod := alert.Labels["pod"]; pod != "" && m.ownPod(alert) {
		return fmt.Sprintf("the labels name the exporter's own pod %s and nothing that it measures; keep exported_pod or pod of the measured thing in the alert's expression", quote(pod))
	}
	if slo, ok := first(alert, m.SLO); ok {
		return fmt.Sprintf("label %s is %s, and slos in kmend.yaml has none of that name; looked for targets in the other labels, too", slo.label, quote(slo.value))
	}
	if l, ok := first(alert, slices.Concat(m.workloadLabels(), m.Service)); ok {
		if _, ok := first(alert, m.Namespace); !ok {
			return fmt.Sprintf("label %s is %s, and no label names its namespace (looked for %s)", l.label, quote(l.value), strings.Join(m.Namespace, ", "))
		}
	}
	all := slices.Concat(m.Pod, m.workloadLabels(), m.Unit, m.Cgroup, m.PID, m.SLO, m.Service, m.Node)
	return "no label names what is slow; looked for " + strings.Join(all, ", ")
}

// first is the first of labels that the alert has.
func first(alert incident.Alert, labels []string) (found, bool) {
	for _, l := range labels {
		if v := alert.Labels[l]; v != "" {
			return found{l, v}, true
		}
	}
	return found{}, false
}

const exportedPrefix = "exported_"

func exported(alert incident.Alert, lists ...[]string) bool {
	for _, labels := range lists {
		if _, ok := first(alert, prefixed(labels)); ok {
			return true
		}
	}
	return false
}

// prefixed keeps the labels that Prometheus has renamed.
func prefixed(labels []string) []string {
	return slices.DeleteFunc(slices.Clone(labels), func(l string) bool { return !strings.HasPrefix(l, exportedPrefix) })
}

func refuse(l found, problem string) (incident.Target, bool, string) {
	return incident.Target{}, false, fmt.Sprintf("label %s is %s: %s", l.label, quote(l.value), problem)
}
