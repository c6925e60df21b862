//go:build ignore

// SPDX-License-Identifier: GPL-2.0
/*
 * Keeps the target's tables up to date while they are in use: cgroups made below
 * the target, and children of processes that are listed for their children too.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "target.h"

char LICENSE[] SEC("license") = "GPL";

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(on_cgroup_mkdir, struct cgroup *cgrp)
{
	struct cgroup *parent = readable(cgrp)->self.parent->cgroup;
	__u64 id = readable(cgrp)->kn->id;
	__u8 one = 1;

	if (parent && target_has_cgroup(parent) && bpf_map_update_elem(&target_cgroups, &id, &one, BPF_ANY))
		count_lost();
	return 0;
}

/* Before the child is woken for the first time, and so before any probe meets it. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	__u32 tgid = child->tgid, from = parent->tgid;
	struct target *t = the_one();
	__u8 one = 1;

	if (!t || !t->inherit || tgid == from)
		return 0;
	if (bpf_map_lookup_elem(&target_processes, &from) &&
	    bpf_map_update_elem(&target_processes, &tgid, &one, BPF_ANY))
		count_lost();
	return 0;
}
