//go:build ignore

// SPDX-License-Identifier: GPL-2.0
/*
 * Memory reclaim by the target's own threads, and who is killed when none can be
 * reclaimed.
 *
 * Direct reclaim: the node has no free pages, and whoever wants one takes it back
 * himself. Memcg reclaim: the cgroup is at its limit (memory.max, memory.high,
 * memory.limit_in_bytes of v1, its own or one above).
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "target.h"

char LICENSE[] SEC("license") = "GPL";

enum kind { DIRECT, MEMCG, NUM_KINDS };

/* Deepest nesting of cgroups that is walked. */
enum { MAX_DEPTH = 32 };

/* How far below its limit, in pages, a cgroup that is out of memory may be: charges are made in batches. */
enum { BATCH = 256 };

/* More pages than a limit can be: none. PAGE_COUNTER_MAX is larger. */
#define NO_LIMIT (1ull << 50)

volatile __u64 window_end = ~0ull;

/* From 6.1.91 and 6.9 on mark_victim has the task, before that its pid alone. */
const volatile __u32 victim_is_pid = 0;

/* The values differ between kernels; only the relocated ones may be used. */
enum cgroup_subsys_id___memory { memory_cgrp_id = 4 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct page_counter {
	struct {
		long counter;
	} usage; /* pages */
	unsigned long max;
};

struct mem_cgroup {
	struct cgroup_subsys_state css; /* first in every kernel */
	struct page_counter memory;
};

struct mm_struct {
	unsigned long total_vm; /* pages */
};

struct task_struct___memory {
	struct mm_struct *mm;
};

#pragma clang attribute pop

struct under_way {
	__u64 since;
	__u64 kind;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32); /* thread id */
	__type(value, struct under_way);
} reclaiming SEC(".maps");

struct totals {
	__u64 count;
	__u64 ns;
	__u64 pages;
	__u64 longest;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NUM_KINDS);
	__type(key, __u32);
	__type(value, struct totals);
} reclaimed SEC(".maps");

struct kill {
	__u64 at;      /* CLOCK_MONOTONIC */
	__u64 cgroup;  /* the memory cgroup that was at its limit; 0: none, the node was out of memory */
	__u64 usage;   /* pages, */
	__u64 limit;   /* of that cgroup */
	__u64 size;    /* of the victim's address space, pages; 0: not known */
	__u32 pid;
	__u32 target;  /* the victim was of the target */
	__u32 guessed; /* only the pid is known: what was killed was asked for by a thread of the target, or not */
	__u32 pad;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct kill);
} kills SEC(".maps");

volatile __u32 kill_count;

static __always_inline void begin(__u64 kind)
{
	struct task_struct *p = bpf_get_current_task_btf();
	struct under_way u = {.kind = kind};
	__u32 tid = p->pid;

	if (!in_target(p))
		return;
	u.since = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&reclaiming, &tid, &u, BPF_ANY))
		count_lost();
}

static __always_inline void end(__u32 kind, __u64 pages)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct under_way *u = bpf_map_lookup_elem(&reclaiming, &tid);
	struct totals *t = bpf_map_lookup_elem(&reclaimed, &kind);
	__u64 now, took;

	if (!u || !t || u->kind != kind)
		return;
	now = bpf_ktime_get_ns();
	if (now > window_end)
		return; /* it was under way at the end */
	took = now - u->since;
	__sync_fetch_and_add(&t->count, 1);
	__sync_fetch_and_add(&t->ns, took);
	__sync_fetch_and_add(&t->pages, pages);
	if (took > t->longest) /* two CPUs at once: either is long */
		t->longest = took;
	bpf_map_delete_elem(&reclaiming, &tid);
}

SEC("tp_btf/mm_vmscan_direct_reclaim_begin")
int BPF_PROG(on_direct_begin)
{
	begin(DIRECT);
	return 0;
}

SEC("tp_btf/mm_vmscan_direct_reclaim_end")
int BPF_PROG(on_direct_end, unsigned long pages)
{
	end(DIRECT, pages);
	return 0;
}

SEC("tp_btf/mm_vmscan_memcg_reclaim_begin")
int BPF_PROG(on_memcg_begin)
{
	begin(MEMCG);
	return 0;
}

SEC("tp_btf/mm_vmscan_memcg_reclaim_end")
int BPF_PROG(on_memcg_end, unsigned long pages)
{
	end(MEMCG, pages);
	return 0;
}

struct ascent {
	struct cgroup_subsys_state *css;
	struct kill *k;
};

static long ascend(__u32 i, struct ascent *a)
{
	struct cgroup_subsys_state *css = a->css;
	struct mem_cgroup *group = (struct mem_cgroup *)css;
	__u64 usage = BPF_CORE_READ(group, memory.usage.counter), limit = BPF_CORE_READ(group, memory.max);

	if (limit < NO_LIMIT && usage + BATCH >= limit) {
		a->k->cgroup = BPF_CORE_READ(css, cgroup, kn, id);
		a->k->usage = usage;
		a->k->limit = limit;
		return 1;
	}
	a->css = BPF_CORE_READ(css, parent);
	return !a->css;
}

/*
 * Finds the nearest cgroup above p that is at its limit. None: the node is out of
 * memory. The verifier goes through a for as often as it may run; not so a bpf_loop().
 */
static __always_inline void find_limit(struct task_struct *p, struct kill *k)
{
	__u32 id = bpf_core_enum_value(enum cgroup_subsys_id___memory, memory_cgrp_id);
	struct css_set *set = readable(p)->cgroups;
	struct ascent a = {.k = k};

	if (id >= CGROUP_SUBSYS_COUNT || bpf_probe_read_kernel(&a.css, sizeof(a.css), &set->subsys[0] + id))
		return;
	if (a.css)
		bpf_loop(MAX_DEPTH, ascend, &a, 0);
}

/* In the thread that asked for memory, before the victim gets its signal. */
SEC("tp_btf/mark_victim")
int BPF_PROG(on_mark_victim, struct task_struct *victim)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct kill k = {.at = bpf_ktime_get_ns()}, *slot;
	__u32 i;

	if (k.at > window_end)
		return 0;
	if (victim_is_pid) {
		k.pid = (__u32)(__u64)victim;
		k.target = bpf_map_lookup_elem(&target_processes, &k.pid) || in_target(current);
		k.guessed = 1;
		find_limit(current, &k);
	} else {
		struct task_struct___memory *m = (struct task_struct___memory *)victim;

		k.pid = victim->tgid;
		k.target = in_target(victim);
		k.size = BPF_CORE_READ(m, mm, total_vm);
		bpf_core_read(k.comm, sizeof(k.comm), &victim->comm);
		find_limit(victim, &k);
	}
	i = __sync_fetch_and_add(&kill_count, 1);
	slot = bpf_map_lookup_elem(&kills, &i);
	if (slot)
		*slot = k;
	else
		count_lost();
	return 0;
}
