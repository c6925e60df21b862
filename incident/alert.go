package incident

import (
	"strings"
	"time"
)

// AlertStatus is Alertmanager's status of an alert or of a group.
type AlertStatus string

const (
	Firing   AlertStatus = "firing"
	Resolved AlertStatus = "resolved"
)

// Alert is one alert as its sender describes it. Labels and annotations are
// untrusted text.
type Alert struct {
	Fingerprint  string            `json:"fingerprint"`
	Status       AlertStatus       `json:"status"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt,omitzero"`
	GeneratorURL string            `json:"generatorURL,omitempty"`

	// What Grafana adds. The URLs are as untrusted as the rest.
	OrgID        int64  `json:"orgId,omitempty"`
	DashboardURL string `json:"dashboardURL,omitempty"`
	PanelURL     string `json:"panelURL,omitempty"`
	ImageURL     string `json:"imageURL,omitempty"`    // of the panel when it fired
	ValueString  string `json:"valueString,omitempty"` // what its queries and expressions gave
}

// Name is the alertname label.
func (a Alert) Name() string { return a.Labels["alertname"] }

// Notification is one delivery of one alert group by one sender.
type Notification struct {
	Source          string      `json:"source"` // "alertmanager" or "grafana"
	Receiver        string      `json:"receiver"`
	GroupKey        string      `json:"groupKey"`
	Status          AlertStatus `json:"status"`
	ExternalURL     string      `json:"externalURL,omitempty"`
	TruncatedAlerts int         `json:"truncatedAlerts,omitempty"` // alerts the sender left out of this delivery
	Alerts          []Alert     `json:"alerts"`
}

// Target is the thing an alert is about, as far as it is known: the labels give
// a part of it, the cluster and the node's agent fill in the rest. At least one
// of Pod, Workload, Service, Cgroup, PID, Unit and Node is set in a Target that can
// be diagnosed; of a workload and of a service it is their pods that are.
type Target struct {
	Cluster     string `json:"cluster,omitempty"`
	Node        string `json:"node,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	Pod         string `json:"pod,omitempty"`
	PodUID      string `json:"podUID,omitempty"`
	Container   string `json:"container,omitempty"`
	ContainerID string `json:"containerID,omitempty"` // without the runtime's "containerd://" prefix
	Workload    string `json:"workload,omitempty"`    // KIND/NAME of what makes the pods: "Deployment/cart"
	Service     string `json:"service,omitempty"`     // Kubernetes Service in front of the pods
	Unit        string `json:"unit,omitempty"`        // systemd unit
	Cgroup      string `json:"cgroup,omitempty"`      // absolute path of a cgroup directory on the node
	PID         int    `json:"pid,omitempty"`         // process (thread group) id in the agent's pid namespace
}

// IsZero reports whether nothing at all is known of the target.
func (t Target) IsZero() bool { return t == Target{} }

// Key names the target for deduplication and for "one remediation per target
// at a time": what the alert says it is, not what is looked up later, so that
// every delivery of it gives the same key.
func (t Target) Key() string {
	switch {
	case t.Pod != "":
		return join("pod", t.Cluster, t.Namespace, t.Pod, t.Container)
	case t.Workload != "":
		return join("workload", t.Cluster, t.Namespace, t.Workload, t.Container, t.Node)
	case t.Service != "":
		return join("service", t.Cluster, t.Namespace, t.Service, t.Container, t.Node)
	case t.Unit != "":
		return join("unit", t.Cluster, t.Node, t.Unit)
	case t.Cgroup != "":
		return join("cgroup", t.Cluster, t.Node, t.Cgroup)
	case t.PID != 0:
		return join("pid", t.Cluster, t.Node, itoa(t.PID))
	case t.Node != "":
		return join("node", t.Cluster, t.Node)
	}
	return ""
}

// Many reports whether the target is what stands for pods, and no pod is named:
// a workload or a service.
func (t Target) Many() bool { return t.Pod == "" && (t.Workload != "" || t.Service != "") }

// WorkloadKind splits Workload: "Deployment" and "cart" of "Deployment/cart".
func (t Target) WorkloadKind() (kind, name string) {
	kind, name, _ = strings.Cut(t.Workload, "/")
	return kind, name
}

// String is the short name a person would use.
func (t Target) String() string {
	switch {
	case t.Pod != "" && t.Container != "":
		return "pod " + t.Namespace + "/" + t.Pod + "/" + t.Container
	case t.Pod != "":
		return "pod " + t.Namespace + "/" + t.Pod
	case t.Workload != "":
		kind, name := t.WorkloadKind()
		return strings.ToLower(kind) + " " + t.Namespace + "/" + name
	case t.Service != "":
		return "service " + t.Namespace + "/" + t.Service
	case t.Unit != "":
		return "unit " + t.Unit
	case t.PID != 0: // and the group that it is in, once it was looked up
		return "pid " + itoa(t.PID)
	case t.Cgroup != "":
		return "cgroup " + t.Cgroup
	case t.Node != "":
		return "node " + t.Node
	}
	return "no target"
}
