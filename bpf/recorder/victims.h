/* SPDX-License-Identifier: GPL-2.0 */
/* Whom the OOM killer ended. */
#pragma once

struct victim {
	__u64 cgroup;
	__u64 at; /* CLOCK_MONOTONIC */
	__u32 pid;
	__u32 ready; /* its number and 1, once it is written */
	char comm[16];
};

enum { VICTIMS = 64 };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, VICTIMS);
	__type(key, __u32);
	__type(value, struct victim);
} victims SEC(".maps");

volatile __u32 victim_count;

/*
 * The OOM killer's victim ends. Its tracepoint, mark_victim, has another form in
 * each kernel and knows only a number in some; what it marks stays until here.
 */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *p)
{
	struct victim *v;
	struct cell *c;
	__u32 nth, i;

	if (p->pid != p->tgid || !((struct task_struct___recorder *)p)->signal->oom_mm)
		return 0;
	c = cell_of(p);
	if (!c)
		return 0;
	count(c->ooms, 1);
	nth = __sync_fetch_and_add(&victim_count, 1);
	i = nth % VICTIMS;
	v = bpf_map_lookup_elem(&victims, &i);
	if (!v)
		return 0;
	v->cgroup = c->cgroup;
	v->at = bpf_ktime_get_ns();
	v->pid = p->tgid;
	bpf_core_read(v->comm, sizeof(v->comm), &p->comm);
	__sync_lock_test_and_set(&v->ready, nth + 1);
	return 0;
}
