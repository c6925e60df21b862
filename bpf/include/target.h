/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which threads belong to the target of a window: by cgroup (the directories
 * named and all below them, enumerated by user space when the window opens and
 * kept up by cgroup_mkdir), by process id, or both.
 *
 * Membership is asked when a thread is first met, not at each of its switches.
 */
#pragma once

enum { HIERARCHY_NONE = 0, HIERARCHY_V2 = 1, HIERARCHY_V1 = 2 };

volatile __u32 target_hierarchy; /* HIERARCHY_* */
volatile __u32 target_hierarchy_id; /* /proc/cgroups; 0 on v2 */
volatile __u32 target_subsys;    /* of HIERARCHY_V1: the controller's enum cgroup_subsys_id */
volatile __u32 target_by_process;
volatile __u32 target_inherit;   /* children of a process in target_processes join it */
volatile __u64 lost;             /* threads or times that could not be recorded */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64); /* kernfs id of a cgroup directory */
	__type(value, __u8);
} target_cgroups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32); /* thread group id */
	__type(value, __u8);
} target_processes SEC(".maps");

static __always_inline void count_lost(void)
{
	__sync_fetch_and_add(&lost, 1);
}

/*
 * The verifier wants constant offsets into a kernel struct, so that the load
 * needs no helper: one branch an index. Indexes past the kernel's own count are
 * relocated to instructions that must not be reached.
 */
#define SUBSYS(i) \
	case i: \
		if (i < bpf_core_enum_value(enum cgroup_subsys_id, CGROUP_SUBSYS_COUNT)) \
			css = set->subsys[i]; \
		break;

static __always_inline __u64 v1_cgroup_id(struct css_set *set)
{
	struct cgroup_subsys_state *css = 0;

	switch (target_subsys) {
	SUBSYS(0) SUBSYS(1) SUBSYS(2) SUBSYS(3) SUBSYS(4) SUBSYS(5) SUBSYS(6) SUBSYS(7)
	SUBSYS(8) SUBSYS(9) SUBSYS(10) SUBSYS(11) SUBSYS(12) SUBSYS(13) SUBSYS(14) SUBSYS(15)
	}
	return css ? css->cgroup->kn->id : 0;
}

/* Kernel threads are nobody's target: they have no quota and no user code. */
static __always_inline bool in_target(struct task_struct *p)
{
	if (p->flags & PF_KTHREAD)
		return false;
	if (target_by_process) {
		__u32 tgid = p->tgid;

		if (bpf_map_lookup_elem(&target_processes, &tgid))
			return true;
	}
	if (target_hierarchy) {
		struct css_set *set = p->cgroups;
		__u64 id = target_hierarchy == HIERARCHY_V2 ? set->dfl_cgrp->kn->id : v1_cgroup_id(set);

		return bpf_map_lookup_elem(&target_cgroups, &id) != 0;
	}
	return false;
}

static __always_inline bool target_has_cgroup(struct cgroup *cgrp)
{
	__u64 id = cgrp->kn->id;

	return target_hierarchy && cgrp->root->hierarchy_id == target_hierarchy_id &&
	       bpf_map_lookup_elem(&target_cgroups, &id);
}

/* A child of a process that was listed by name of its process joins the target. */
static __always_inline void inherit_target(struct task_struct *p)
{
	__u32 tgid = p->tgid, parent;
	__u8 one = 1;

	if (!target_inherit || p->pid != p->tgid)
		return;
	parent = p->real_parent->tgid;
	if (bpf_map_lookup_elem(&target_processes, &parent) &&
	    bpf_map_update_elem(&target_processes, &tgid, &one, BPF_ANY))
		count_lost();
}

/* cgroups made below the target while the window is open. */
SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(on_cgroup_mkdir, struct cgroup *cgrp)
{
	struct cgroup *parent = cgrp->self.parent->cgroup;
	__u64 id = cgrp->kn->id;
	__u8 one = 1;

	if (parent && target_has_cgroup(parent) && bpf_map_update_elem(&target_cgroups, &id, &one, BPF_ANY))
		count_lost();
	return 0;
}
