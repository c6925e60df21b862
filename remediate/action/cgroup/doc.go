// Package cgroup acts on the CPU controller of control groups of this node, v1
// and v2: the action cgroup.set_cpu_quota raises the CPU quota of the group of a
// target on a plain host. It is run by package remediate.
//
// It acts on the target's own group and on nothing else: not on the root group,
// not on a group above that limits it (others live there too), not on groups of
// the kubelet, which writes them itself, and not for a target on another node.
package cgroup
