/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which threads belong to the target of a window: by cgroup (the directories
 * named and all below them), by process id, or both. The three maps are made and
 * filled by bpf/probe and shared by every object that is loaded with them.
 *
 * Asking is two or three map lookups: a probe that asks at each switch of a
 * thread remembers the answer.
 */
#pragma once

#include "walk.h"

enum { HIERARCHY_NONE = 0, HIERARCHY_V2 = 1, HIERARCHY_V1 = 2 };

struct target {
	__u32 hierarchy;    /* HIERARCHY_* */
	__u32 hierarchy_id; /* /proc/cgroups; 0 on v2 */
	__u32 subsys;       /* of HIERARCHY_V1: the controller's enum cgroup_subsys_id */
	__u32 by_process;
	__u32 inherit;      /* children of a process in target_processes join it */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct target);
} the_target SEC(".maps");

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

volatile __u64 lost; /* what this object could not record */

static __always_inline void count_lost(void)
{
	__sync_fetch_and_add(&lost, 1);
}

/* The value of a key of a hash, which is first if it has none; NULL, and counted, if there is no room. */
static __always_inline void *lookup_or_add(void *map, const void *key, const void *first)
{
	void *value = bpf_map_lookup_elem(map, key);

	if (value)
		return value;
	bpf_map_update_elem(map, key, first, BPF_NOEXIST); /* or another CPU does */
	value = bpf_map_lookup_elem(map, key);
	if (!value)
		count_lost();
	return value;
}

/*
 * The verifier wants constant offsets into a kernel struct; a branch for each
 * index made it walk every program sixteen times. So the index, which user space
 * has from this kernel, is read with a helper.
 */
static __always_inline __u64 v1_cgroup_id(struct task_struct *p, __u32 subsys)
{
	struct cgroup_subsys_state *css = 0;
	__u64 set = 0;

	bpf_core_read(&set, sizeof(set), &p->cgroups);
	if (subsys >= CGROUP_SUBSYS_COUNT || !set)
		return 0;
	set += bpf_core_field_offset(struct css_set, subsys) + subsys * sizeof(css);
	bpf_probe_read_kernel(&css, sizeof(css), (void *)set);
	return css ? BPF_CORE_READ(css, cgroup, kn, id) : 0;
}

static __always_inline struct target *the_one(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&the_target, &zero);
}

/* Kernel threads are nobody's target: they have no quota and no user code. */
static __always_inline bool in_target(struct task_struct *p)
{
	struct target *t = the_one();

	if (!t || p->flags & PF_KTHREAD)
		return false;
	if (t->by_process) {
		__u32 tgid = p->tgid;

		if (bpf_map_lookup_elem(&target_processes, &tgid))
			return true;
	}
	if (t->hierarchy) {
		__u64 id = t->hierarchy == HIERARCHY_V2 ? readable(p)->cgroups->dfl_cgrp->kn->id : v1_cgroup_id(p, t->subsys);

		return bpf_map_lookup_elem(&target_cgroups, &id) != 0;
	}
	return false;
}

static __always_inline bool target_has_cgroup(struct cgroup *cgrp)
{
	struct target *t = the_one();
	__u64 id;

	cgrp = readable(cgrp);
	id = cgrp->kn->id;
	return t && t->hierarchy && cgrp->root->hierarchy_id == t->hierarchy_id &&
	       bpf_map_lookup_elem(&target_cgroups, &id);
}
