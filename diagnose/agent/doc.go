// Package agent is the node side of a diagnosis: it resolves a target to cgroups
// and processes of this node, measures them for one bounded window with the
// probe bpf/threads, and answers with an incident.Measurement: facts, no opinion
// (diagnose/cause has those). Agent does it in this process; Handler and Client
// carry the same two calls over the network, so both are used alike.
//
//	request -> cgroups, cri (which tasks?) -> bpf/threads (one window) -> Measurement
package agent
