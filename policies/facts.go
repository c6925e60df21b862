package policies

import (
	"time"

	"github.com/kmend/kmend/incident"
)

// Facts are what a decision has to know beside the incident and its plan. Who
// decides gathers them immediately before (internal/guard); Decide itself asks
// nobody, so that the same facts give the same answer. What is missing denies
// where a policy asks for it.
type Facts struct {
	// Paused says who stopped kmend and why; empty when nobody did.
	Paused string `json:"paused,omitempty"`
	// Scope is where the plan acts, as far as it is known.
	Scope incident.Scope `json:"scope,omitzero"`
	// History is what kmend did and does, as far back as History of the Set says.
	History []Act `json:"history,omitempty"`
	// Cluster is what the Kubernetes API says of the plan's target; nil for a
	// target that is in no cluster.
	Cluster *Cluster `json:"cluster,omitempty"`
	// Budgets are the counts of the error budgets, by POLICY/NAME.
	Budgets map[string]Budget `json:"budgets,omitempty"`
	// Missing says why a source gave no answer: of "pause", "history", "cluster",
	// or POLICY/NAME of an error budget.
	Missing map[string]string `json:"missing,omitempty"`
}

// Act is one plan that kmend carried out, or is at.
type Act struct {
	Incident string           `json:"incident"`
	Runbook  string           `json:"runbook"`
	Scope    incident.Scope   `json:"scope"`
	Started  time.Time        `json:"started"`
	Ended    time.Time        `json:"ended,omitzero"` // zero while kmend is at it
	Outcome  incident.Outcome `json:"outcome,omitempty"`
}

// Running reports whether kmend is at it.
func (a Act) Running() bool { return a.Ended.IsZero() }

// wentWrong reports whether it did not go well: it failed, was undone, or nobody knows.
func (a Act) wentWrong() bool {
	return a.Outcome == incident.Failed || a.Outcome == incident.Undone || a.Outcome == incident.Interrupted
}

// Cluster is what the Kubernetes API says of a target.
type Cluster struct {
	// OptedOut names the object whose annotation keeps kmend away; empty when none does.
	OptedOut string `json:"optedOut,omitempty"`
	// GitOps, HPA and VPA name what sets the same things: "Argo CD (Deployment web)".
	GitOps []string `json:"gitops,omitempty"`
	HPA    []string `json:"hpa,omitempty"`
	VPA    []string `json:"vpa,omitempty"`
	// Owner is the workload that the target belongs to; nil when there is none.
	Owner *Owner `json:"owner,omitempty"`
	// Extents are the other parts of the scope: namespace, node, zone, cluster.
	Extents map[string]Extent `json:"extents,omitempty"`
	// Room is the target's node; nil when it is on none.
	Room *Room `json:"room,omitempty"`
}

// Extent counts the pods in a part of the cluster, or its nodes where the target
// is a node.
type Extent struct {
	Total int `json:"total"`
	// Disrupted are those that do not serve now, whoever is the cause: pods that
	// are not ready or still to be replaced by a rollout, nodes that are not ready
	// or cordoned.
	Disrupted int `json:"disrupted"`
}

// Owner counts the pods of a workload.
type Owner struct {
	Extent
	// OthersReady are those that are ready, without the target.
	OthersReady int `json:"othersReady"`
}

// Room is what a node has, and what of it no pod requests: CPUs and bytes.
type Room struct {
	CPU        float64 `json:"cpu"`
	FreeCPU    float64 `json:"freeCPU"`
	Memory     float64 `json:"memory"`
	FreeMemory float64 `json:"freeMemory"`
}

// Budget is what Prometheus counted for an error budget.
type Budget struct {
	Requests float64 `json:"requests"`
	Errors   float64 `json:"errors"`
}
