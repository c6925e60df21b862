package incident

import (
	"path"
	"strings"
)

// Investigation is how kmend came from what an alert names to what it diagnosed, and
// what metrics, traces and logs say about it. Only the kernel confirms: nothing of
// this makes a finding, changes a verdict or picks an action.
type Investigation struct {
	// Hops are the targets that were asked, from the alert's own to the last one.
	// Hops[Root] is the one that the diagnosis is about.
	Hops []Hop `json:"hops"`
	Root int   `json:"root"`
	// Extent is set where the alert names more than one pod.
	Extent *Extent `json:"extent,omitempty"`
	// Observations are what other sources say; Evidence is what they cite.
	Observations []Observation `json:"observations,omitempty"`
	Evidence     []Evidence    `json:"evidence,omitempty"`
	// Sources says of each source whether it answered.
	Sources []Source `json:"sources,omitempty"`
}

// Via is how kmend came to a hop.
type Via string

const (
	ViaAlert  Via = "alert"  // the alert names it
	ViaTrace  Via = "trace"  // a trace of the hop before leads there
	ViaSocket Via = "socket" // threads of the hop before wait for it
)

// Hop is one target on the way, and what its node said.
type Hop struct {
	// Target is what kmend asked for: from the alert, the cluster or a peer's address,
	// and not what an agent says that it measured.
	Target  Target  `json:"target"`
	Service string  `json:"service,omitempty"` // its name in the traces, untrusted
	Via     Via     `json:"via"`
	Why     string  `json:"why,omitempty"` // the one that follows: "12 of 14 slow traces go on to it"
	Verdict Verdict `json:"verdict"`
	Cause   Cause   `json:"cause,omitempty"` // of a confirmed one
	Message string  `json:"message"`         // of its first finding
	// Evidence are ids of the investigation's Evidence that led there.
	Evidence []string `json:"evidence,omitempty"`
}

// Extent is how far a finding reaches among the pods that an alert names.
type Extent struct {
	Of       string   `json:"of"`       // "deployment shop/cart"
	Pods     int      `json:"pods"`     // that run
	Measured int      `json:"measured"` // of them
	Same     int      `json:"same"`     // of those measured, with the same confirmed cause
	Nodes    []string `json:"nodes,omitempty"`
	Message  string   `json:"message"` // "cpu.throttled: 7 of 40 pods, all on node-3"
	Asked    []Asked  `json:"asked"`   // those measured, the most suspicious first
}

// Asked is one of the pods that an alert names, and what its node said.
type Asked struct {
	Pod     string  `json:"pod"`
	Node    string  `json:"node"`
	Verdict Verdict `json:"verdict"`
	Cause   Cause   `json:"cause,omitempty"` // of a confirmed one
	Share   float64 `json:"share"`
}

// Stance is what an observation does to the diagnosis' first finding.
type Stance string

const (
	Supports    Stance = "supports"
	Contradicts Stance = "contradicts"
)

// Observation is one thing that a source beside the kernel says. The message is
// kmend's own; what is quoted in it is untrusted.
type Observation struct {
	Source   string   `json:"source"` // Source.Name
	Kind     string   `json:"kind"`   // "alert", "outlier", "baseline", "burn_rate", "path", "log", ...
	Stance   Stance   `json:"stance,omitempty"`
	Message  string   `json:"message"`
	Evidence []string `json:"evidence,omitempty"` // ids in Investigation.Evidence
}

// SourceState is how a source fared.
type SourceState string

const (
	SourceOK     SourceState = "ok"
	SourceAbsent SourceState = "absent" // not configured
	SourceFailed SourceState = "failed" // it did not answer, or not in time
)

// Source is one system that was asked beside the kernel, or that was not there.
type Source struct {
	Name   string      `json:"name"` // "prometheus", "jaeger", "tempo", "loki", "elasticsearch", "kubernetes"
	Status SourceState `json:"status"`
	Reason string      `json:"reason,omitempty"`
}

// Path names the hops in one line, with the cause where it is: "front -> cart ->
// stock (cpu.throttled)". It is empty where only the alert's own target was asked.
func (v *Investigation) Path() string {
	if v == nil || len(v.Hops) < 2 {
		return ""
	}
	names := make([]string, len(v.Hops))
	for i, h := range v.Hops {
		names[i] = h.name()
		if i == v.Root && h.Cause != "" {
			names[i] += " (" + string(h.Cause) + ")"
		}
	}
	return strings.Join(names, " -> ")
}

// name is the short name of a hop.
func (h Hop) name() string {
	switch t := h.Target; {
	case h.Service != "":
		return h.Service
	case t.Pod != "":
		return t.Pod
	case t.Unit != "":
		return t.Unit
	case t.PID != 0:
		return t.String()
	case t.Cgroup != "":
		return path.Base(t.Cgroup)
	default:
		return t.String()
	}
}

// RootHop is the hop that the diagnosis is about; ok is false when there is none.
func (v *Investigation) RootHop() (h Hop, ok bool) {
	if v == nil || v.Root < 0 || v.Root >= len(v.Hops) {
		return Hop{}, false
	}
	return v.Hops[v.Root], true
}

// Aim is the target that the diagnosis is about, as kmend asked for it: the alert's
// own, or the one that its investigation came to. What is planned, guarded, done and
// measured again is about this one.
func (i Incident) Aim() Target {
	if i.Diagnosis != nil {
		if h, ok := i.Diagnosis.Investigation.RootHop(); ok {
			return h.Target
		}
	}
	return i.Target
}
