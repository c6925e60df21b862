/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Who holds the CPUs: on-CPU time by task group of the whole machine, and idle
 * time. This is the only cost of a thread outside the target.
 */
#pragma once

struct cpu_slot {
	__u64 since;  /* last switch; one before the window counts from its start */
	__u64 idle;
	__u64 cgroup; /* the group that ran last, and its time not yet in holders */
	__u64 ns;
	__u64 rest;   /* of groups for which holders had no room */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cpu_slot);
} cpu_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64); /* kernfs id of the task group's cgroup */
	__type(value, __u64);
} holders SEC(".maps");

static __always_inline void flush_holder(struct cpu_slot *c)
{
	__u64 *sum = bpf_map_lookup_elem(&holders, &c->cgroup);

	if (sum)
		*sum += c->ns;
	else if (bpf_map_update_elem(&holders, &c->cgroup, &c->ns, BPF_NOEXIST))
		c->rest += c->ns;
}

/* prev leaves this CPU. */
static __always_inline void count_holder(struct task_struct *prev, const struct moment *m)
{
	__u32 zero = 0;
	struct cpu_slot *c = bpf_map_lookup_elem(&cpu_slots, &zero);
	__u64 ran, id;

	if (!c)
		return;
	ran = span(m, c->since, m->now);
	c->since = m->now;
	if (!ran)
		return;
	if (!prev->pid) {
		c->idle += ran;
		return;
	}
	id = task_group_id(prev);
	if (id != c->cgroup) {
		if (c->ns)
			flush_holder(c);
		c->cgroup = id;
		c->ns = 0;
	}
	c->ns += ran;
}
