//go:build ignore

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How long PostgreSQL's backends wait for heavyweight locks: from the static
 * tracepoint lock__wait__start to lock__wait__done, in the server's own code.
 * Waits of one backend for one type of lock in one mode are summed up.
 *
 * A wait that ends in an error (a timeout, a deadlock, a cancelled query) passes
 * no lock__wait__done: user space looks into the server's memory for that.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "target.h"
#include "usdt.h"

char LICENSE[] SEC("license") = "GPL";

struct sched_entity___postgres {
	__u64 sum_exec_runtime;
} __attribute__((preserve_access_index));

struct task_struct___postgres {
	struct sched_entity___postgres se;
} __attribute__((preserve_access_index));

volatile __u64 window_start = ~0ULL; /* CLOCK_MONOTONIC, ns */
volatile __u64 window_end = ~0ULL;

/* LOCKTAG of src/include/storage/lock.h */
struct tag {
	__u32 field1, field2, field3;
	__u16 field4;
	__u8 type;
	__u8 method; /* not an argument of the probe: 0 */
};

struct open_wait {
	__u64 since;
	__u64 ran; /* the backend's CPU time then */
	struct tag tag;
	__u32 mode;
	__u32 pad;
};

struct wait_key {
	__u32 pid;
	__u16 type;
	__u16 mode;
};

struct wait {
	__u64 count;
	__u64 ns;
	__u64 longest;
	__u64 ran;       /* CPU time of the backend during them */
	__u64 before;    /* of count: waits that began before the window */
	struct tag tag;  /* of the longest; empty if it began before the window */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096); /* Options.MaxWaits */
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32); /* process id of the backend */
	__type(value, struct open_wait);
} open_waits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096); /* Options.MaxWaits */
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct wait_key);
	__type(value, struct wait);
} waits SEC(".maps");

static __always_inline __u64 cpu_time(struct task_struct *task)
{
	return BPF_CORE_READ((struct task_struct___postgres *)task, se.sum_exec_runtime);
}

/* (locktag_field1, field2, field3, field4, locktag_type, lockmode) of both probes */
static __always_inline int arguments(void *ctx, struct usdt_spec *spec, struct tag *tag, __u32 *mode)
{
	__u64 a[6];

	if (usdt_arg(ctx, spec, 0, &a[0]) || usdt_arg(ctx, spec, 1, &a[1]) || usdt_arg(ctx, spec, 2, &a[2]) ||
	    usdt_arg(ctx, spec, 3, &a[3]) || usdt_arg(ctx, spec, 4, &a[4]) || usdt_arg(ctx, spec, 5, &a[5]))
		return -1;
	tag->field1 = a[0];
	tag->field2 = a[1];
	tag->field3 = a[2];
	tag->field4 = a[3];
	tag->type = a[4];
	*mode = a[5];
	return 0;
}

static __always_inline void begin(struct task_struct *task, __u64 now, struct tag tag, __u32 mode)
{
	struct open_wait w = { .since = now, .ran = cpu_time(task), .tag = tag, .mode = mode };
	__u32 pid = task->tgid;

	if (bpf_map_update_elem(&open_waits, &pid, &w, BPF_ANY))
		count_lost();
}

static __always_inline void end(struct task_struct *task, __u64 now, struct tag tag, __u32 mode)
{
	__u64 start = window_start, since, ran = 0, ns;
	struct wait_key key = {};
	struct wait zero = {}, *w;
	struct open_wait *open;
	__u32 pid = task->tgid;
	bool before = false;

	open = bpf_map_lookup_elem(&open_waits, &pid);
	since = open ? open->since : 0;
	if (open)
		ran = cpu_time(task) - open->ran;
	if (now < start) {
		bpf_map_delete_elem(&open_waits, &pid);
		return;
	}
	if (since < start) {
		before = true;
		since = start;
	}
	ns = now - since;
	key.pid = pid;
	key.type = tag.type;
	key.mode = mode;
	bpf_map_delete_elem(&open_waits, &pid);
	w = bpf_map_lookup_elem(&waits, &key);
	if (!w) {
		if (bpf_map_update_elem(&waits, &key, &zero, BPF_NOEXIST)) {
			count_lost();
			return;
		}
		w = bpf_map_lookup_elem(&waits, &key);
		if (!w)
			return;
	}
	/* A backend has one thread: nobody else writes this. */
	w->count++;
	w->ns += ns;
	w->ran += ran;
	w->before += before;
	if (ns >= w->longest) {
		w->longest = ns;
		w->tag = tag;
	}
}

SEC("uprobe")
int on_lock_wait(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct usdt_spec *spec = usdt_spec(ctx);
	__u64 now = bpf_ktime_get_ns();
	struct tag tag = {};
	__u32 mode = 0;

	/* What is open at the end of the window is read by user space. */
	if (!spec || now >= window_end || !in_target(task))
		return 0;
	if (arguments(ctx, spec, &tag, &mode)) {
		count_lost();
		return 0;
	}
	if (spec->point == 0)
		begin(task, now, tag, mode);
	else
		end(task, now, tag, mode);
	return 0;
}
