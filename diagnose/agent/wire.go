package agent

import (
	"time"

	"github.com/kmend/kmend/diagnose/agent/agentpb"
	"github.com/kmend/kmend/incident"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// The nouns of package incident to their wire form and back. Every field of the
// nouns is in agent.proto; TestWireRoundTrip fails when one is forgotten.

func toWire(m incident.Measurement) *agentpb.Measurement {
	return &agentpb.Measurement{
		Target:   targetToWire(m.Target),
		Node:     nodeToWire(m.Node),
		Window:   windowToWire(m.Window),
		Evidence: each(m.Evidence, evidenceToWire),
		Ledger: &agentpb.Ledger{
			Threads: int64(m.Ledger.Threads), WallMs: m.Ledger.WallMS, StatesMs: statesToWire(m.Ledger.States),
			Top: each(m.Ledger.Top, func(t incident.ThreadLedger) *agentpb.ThreadLedger {
				return &agentpb.ThreadLedger{Tid: int64(t.TID), Pid: int64(t.PID), Comm: t.Comm, WallMs: t.WallMS, StatesMs: statesToWire(t.States)}
			}),
			Groups: each(m.Ledger.Groups, func(g incident.GroupLedger) *agentpb.GroupLedger {
				return &agentpb.GroupLedger{Cgroup: g.Cgroup, Threads: int64(g.Threads), WallMs: g.WallMS, StatesMs: statesToWire(g.States)}
			}),
		},
		Probes:   each(m.Probes, probeToWire),
		Cost:     &agentpb.Cost{CpuMs: m.Cost.CPUMS, WallMs: m.Cost.WallMS, MemoryBytes: m.Cost.MemoryBytes},
		Baseline: baselineToWire(m.Baseline),
		Peers: each(m.Peers, func(p incident.Peer) *agentpb.Peer {
			return &agentpb.Peer{Address: p.Address, Pid: int64(p.PID), Cgroup: p.Cgroup}
		}),
	}
}

func fromWire(m *agentpb.Measurement) incident.Measurement {
	l := m.GetLedger()
	out := incident.Measurement{
		Target:   targetFromWire(m.GetTarget()),
		Node:     nodeFromWire(m.GetNode()),
		Window:   windowFromWire(m.GetWindow()),
		Evidence: each(m.GetEvidence(), evidenceFromWire),
		Ledger: incident.Ledger{
			Threads: int(l.GetThreads()), WallMS: l.GetWallMs(), States: statesFromWire(l.GetStatesMs()),
			Top: each(l.GetTop(), func(t *agentpb.ThreadLedger) incident.ThreadLedger {
				return incident.ThreadLedger{TID: int(t.GetTid()), PID: int(t.GetPid()), Comm: t.GetComm(), WallMS: t.GetWallMs(), States: statesFromWire(t.GetStatesMs())}
			}),
			Groups: each(l.GetGroups(), func(g *agentpb.GroupLedger) incident.GroupLedger {
				return incident.GroupLedger{Cgroup: g.GetCgroup(), Threads: int(g.GetThreads()), WallMS: g.GetWallMs(), States: statesFromWire(g.GetStatesMs())}
			}),
		},
		Probes: each(m.GetProbes(), probeFromWire),
		Cost:   incident.Cost{CPUMS: m.GetCost().GetCpuMs(), WallMS: m.GetCost().GetWallMs(), MemoryBytes: m.GetCost().GetMemoryBytes()},
		Peers: each(m.GetPeers(), func(p *agentpb.Peer) incident.Peer {
			return incident.Peer{Address: p.GetAddress(), PID: int(p.GetPid()), Cgroup: p.GetCgroup()}
		}),
	}
	if b := m.GetBaseline(); b != nil {
		out.Baseline = &incident.Baseline{Window: windowFromWire(b.GetWindow()), States: statesFromWire(b.GetStatesMs())}
	}
	return out
}

func windowToWire(w incident.Window) *agentpb.Window {
	return &agentpb.Window{Start: timestamppb.New(w.Start), Seconds: w.Seconds, Recorded: w.Recorded}
}

func windowFromWire(w *agentpb.Window) incident.Window {
	return incident.Window{Start: timeFromWire(w.GetStart()), Seconds: w.GetSeconds(), Recorded: w.GetRecorded()}
}

// timeToWire leaves the zero time out.
func timeToWire(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func timeFromWire(t *timestamppb.Timestamp) time.Time {
	if !t.IsValid() {
		return time.Time{}
	}
	return t.AsTime()
}

func baselineToWire(b *incident.Baseline) *agentpb.Baseline {
	if b == nil {
		return nil
	}
	return &agentpb.Baseline{Window: windowToWire(b.Window), StatesMs: statesToWire(b.States)}
}

func targetToWire(t incident.Target) *agentpb.Target {
	return &agentpb.Target{
		Cluster: t.Cluster, Node: t.Node, Namespace: t.Namespace, Pod: t.Pod, PodUid: t.PodUID, Container: t.Container,
		ContainerId: t.ContainerID, Unit: t.Unit, Cgroup: t.Cgroup, Pid: int64(t.PID), Workload: t.Workload, Service: t.Service,
	}
}

func targetFromWire(t *agentpb.Target) incident.Target {
	return incident.Target{
		Cluster: t.GetCluster(), Node: t.GetNode(), Namespace: t.GetNamespace(), Pod: t.GetPod(), PodUID: t.GetPodUid(), Container: t.GetContainer(),
		ContainerID: t.GetContainerId(), Unit: t.GetUnit(), Cgroup: t.GetCgroup(), PID: int(t.GetPid()), Workload: t.GetWorkload(), Service: t.GetService(),
	}
}

func nodeToWire(n incident.Node) *agentpb.Node {
	return &agentpb.Node{Name: n.Name, Kernel: n.Kernel, Cpus: int64(n.CPUs), AgentVersion: n.AgentVersion}
}

func nodeFromWire(n *agentpb.Node) incident.Node {
	return incident.Node{Name: n.GetName(), Kernel: n.GetKernel(), CPUs: int(n.GetCpus()), AgentVersion: n.GetAgentVersion()}
}

func evidenceToWire(e incident.Evidence) *agentpb.Evidence {
	return &agentpb.Evidence{Id: e.ID, Probe: e.Probe, Metric: e.Metric, Subject: e.Subject, Value: e.Value, Unit: e.Unit, Lost: e.Lost,
		Stack: e.Stack, Histogram: each(e.Histogram, func(b incident.Bucket) *agentpb.Bucket { return &agentpb.Bucket{UpTo: b.UpTo, Count: b.Count} })}
}

func evidenceFromWire(e *agentpb.Evidence) incident.Evidence {
	return incident.Evidence{ID: e.GetId(), Probe: e.GetProbe(), Metric: e.GetMetric(), Subject: e.GetSubject(), Value: e.GetValue(), Unit: e.GetUnit(), Lost: e.GetLost(),
		Stack: e.GetStack(), Histogram: each(e.GetHistogram(), func(b *agentpb.Bucket) incident.Bucket {
			return incident.Bucket{UpTo: b.GetUpTo(), Count: b.GetCount()}
		})}
}

func probeToWire(p incident.ProbeStatus) *agentpb.ProbeStatus {
	return &agentpb.ProbeStatus{Name: p.Name, Status: string(p.Status), Reason: p.Reason, Lost: p.Lost}
}

func probeFromWire(p *agentpb.ProbeStatus) incident.ProbeStatus {
	return incident.ProbeStatus{Name: p.GetName(), Status: incident.ProbeState(p.GetStatus()), Reason: p.GetReason(), Lost: p.GetLost()}
}

func statesToWire(s map[incident.State]float64) map[string]float64 {
	if s == nil {
		return nil
	}
	out := make(map[string]float64, len(s))
	for k, v := range s {
		out[string(k)] = v
	}
	return out
}

func statesFromWire(s map[string]float64) map[incident.State]float64 {
	out := make(map[incident.State]float64, len(s))
	for k, v := range s {
		out[incident.State(k)] = v
	}
	return out
}

func capabilitiesToWire(c Capabilities) *agentpb.CapabilitiesResponse {
	return &agentpb.CapabilitiesResponse{
		ApiVersion: uint32(c.APIVersion), MinApiVersion: minAPIVersion, AgentVersion: c.AgentVersion, Node: nodeToWire(c.Node),
		CgroupMode: c.CgroupMode, Probes: each(c.Probes, probeToWire), MaxWindow: durationpb.New(c.MaxWindow.D()), MaxAtOnce: uint32(c.MaxAtOnce),
	}
}

func capabilitiesFromWire(c *agentpb.CapabilitiesResponse) Capabilities {
	return Capabilities{
		APIVersion: int(c.GetApiVersion()), AgentVersion: c.GetAgentVersion(), Node: nodeFromWire(c.GetNode()),
		CgroupMode: c.GetCgroupMode(), Probes: each(c.GetProbes(), probeFromWire), MaxWindow: incident.Duration(c.GetMaxWindow().AsDuration()), MaxAtOnce: int(c.GetMaxAtOnce()),
	}
}

func requestToWire(r Request) *agentpb.DiagnoseRequest {
	return &agentpb.DiagnoseRequest{
		ApiVersion: APIVersion, Target: targetToWire(r.Target),
		Window: durationpb.New(r.Window), Budget: &agentpb.Budget{Cpu: durationpb.New(r.Budget.CPU), MemoryBytes: r.Budget.Memory},
		Since: timeToWire(r.Since), Until: timeToWire(r.Until),
	}
}

func requestFromWire(r *agentpb.DiagnoseRequest) Request {
	return Request{
		Target: targetFromWire(r.GetTarget()),
		Window: r.GetWindow().AsDuration(),
		Budget: Budget{CPU: r.GetBudget().GetCpu().AsDuration(), Memory: r.GetBudget().GetMemoryBytes()},
		Since:  timeFromWire(r.GetSince()),
		Until:  timeFromWire(r.GetUntil()),
	}
}

func progressToWire(p Progress) *agentpb.Progress {
	return &agentpb.Progress{Stage: string(p.Stage), Message: p.Message, Window: durationpb.New(p.Window)}
}

func progressFromWire(p *agentpb.Progress) Progress {
	return Progress{Stage: Stage(p.GetStage()), Message: p.GetMessage(), Window: p.GetWindow().AsDuration()}
}

func each[A, B any](in []A, f func(A) B) []B {
	if in == nil {
		return nil
	}
	out := make([]B, len(in))
	for i, v := range in {
		out[i] = f(v)
	}
	return out
}
