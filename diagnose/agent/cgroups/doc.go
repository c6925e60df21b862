// Package cgroups finds a target among the control groups of a node: by path, by
// process, by systemd unit and by pod, on cgroup v1, v2 and both at once, and
// reads CPU quotas and how often they were hit. diagnose/agent asks it before it
// measures. It only reads.
//
// Two notations: a directory is absolute as it is mounted here
// (/sys/fs/cgroup/cpu/noisy), a path is relative to its hierarchy as in
// /proc/PID/cgroup (/noisy).
package cgroups
