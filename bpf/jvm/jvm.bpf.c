//go:build ignore

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * When a Java virtual machine stands still, by two witnesses that know nothing of
 * each other: the static tracepoints of libjvm.so (safepoints, collections, the
 * heap before and after), and the scheduler: its collector runs, and none of its
 * application's threads does.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "usdt.h"

char LICENSE[] SEC("license") = "GPL";

#define MS 1000000ULL

/* Collector threads that rest for longer than this do not work on one pause. */
#define REST (10 * MS)
/* A pause begins this soon after the application's last thread stopped. */
#define SOON (20 * MS)
/* A shorter stall is none: threads come and go. */
#define STALL MS

volatile __u64 window_start = ~0ULL; /* CLOCK_MONOTONIC, ns */
volatile __u64 window_end = ~0ULL;
volatile __u64 lost;

struct total {
	__u64 count, ns, longest;
};

struct jvm {
	/* Of the tracepoints. Safepoints are the virtual machine's own thread's. */
	__u64 safepoint;     /* when the one that is open began; 0: none */
	__u64 collections;   /* that are open */
	__u64 in_safepoint;  /* a collection was under way in the one that is open */
	struct total pauses; /* safepoints with a collection */
	struct total others; /* safepoints without */
	__u64 full;          /* collections of the whole heap */
	__u64 heap_before, heap_after; /* bytes, of the last collection */
	__u64 phase;         /* of the collection that is open: enum phase */
	__u64 before, after; /* of that one, so far */

	/* Of the scheduler. */
	__u64 running;       /* threads that run, or could: the application's | the collector's << 32 */
	__u64 stopped;       /* when the application's last thread stopped */
	__u64 stall;         /* when the stall that is open began; 0: none */
	__u64 rested;        /* when the collector's last thread stopped */
	struct total stalls;
	__u64 app_ns, collector_ns, other_ns; /* CPU time */
	__u64 stalled_ns;    /* of collector_ns: during stalls */
};

enum phase { NOTHING, BEFORE, AFTER, AGAIN };

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256); /* Options.MaxJVMs */
	__type(key, __u32); /* process id; user space puts those of the target in */
	__type(value, struct jvm);
} jvms SEC(".maps");

enum kind { APPLICATION, COLLECTOR, OTHER };

/*
 * The threads in jvm.running. One that loses its CPU to another stays: whoever
 * waits for a CPU neither rests nor stands still.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32); /* thread id */
	__type(value, __u8); /* enum kind */
} running SEC(".maps");

/* Who is on a CPU since when, if it is of one of the jvms. */
struct slot {
	__u64 since;
	__u32 tid;
	__u32 kind;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

static __always_inline void add(struct total *t, __u64 ns)
{
	t->count++;
	t->ns += ns;
	if (ns > t->longest)
		t->longest = ns;
}

/* The first n bytes of a name as a number: clang has no memcmp for BPF. */
static __always_inline __u64 word(const char *name, int n)
{
	__u64 w;

	__builtin_memcpy(&w, name, sizeof(w));
	return n < 8 ? w & ((1ULL << (8 * n)) - 1) : w;
}

/* IS compares the first n bytes, at most 8, of the comm with a name of 8 bytes. */
#define IS(n, name) (word(comm, n) == word(name, n))

/* By the names that hotspot gives its threads (JDK 9 and later). */
static __always_inline enum kind kind_of(struct task_struct *p)
{
	char comm[16];

	if (bpf_probe_read_kernel(comm, sizeof(comm), p->comm))
		return OTHER;
	if (IS(8, "VM Threa") || IS(8, "GC Threa") || IS(3, "G1      ") || IS(8, "Shenando") || IS(7, "ZWorker ") ||
	    IS(7, "ZDriver ") || IS(7, "XWorker ") || IS(7, "XDriver "))
		return COLLECTOR;
	if (IS(8, "C1 Compi") || IS(8, "C2 Compi") || IS(8, "Sweeper ") || IS(8, "VM Perio") || IS(8, "Signal D") ||
	    IS(8, "Service ") || IS(8, "Monitor ") || IS(8, "Notifica") || IS(8, "Referenc") || IS(8, "Finalize") ||
	    IS(8, "Common-C") || IS(8, "Attach L") || IS(8, "ZDirecto") || IS(5, "ZStat   ") || IS(8, "ZUncommi"))
		return OTHER;
	return APPLICATION;
}

#define APPS(running) ((__u32)(running))
#define COLLECTORS(running) ((__u32)((running) >> 32))
#define ONE_COLLECTOR (1ULL << 32)

static __always_inline void stall_ends(struct jvm *j, __u64 now)
{
	__u64 began = j->stall;

	j->stall = 0;
	if (began && now > began && now - began >= STALL)
		add(&j->stalls, now - began);
}

/* A thread has had a CPU for some time. */
static __always_inline void ran(struct jvm *j, struct slot *s, __u64 now)
{
	__u64 ns = now - s->since, stall = j->stall;

	if (s->kind == APPLICATION) {
		__sync_fetch_and_add(&j->app_ns, ns);
	} else if (s->kind == COLLECTOR) {
		__sync_fetch_and_add(&j->collector_ns, ns);
		if (stall && stall < now)
			__sync_fetch_and_add(&j->stalled_ns, now - (s->since > stall ? s->since : stall));
	} else {
		__sync_fetch_and_add(&j->other_ns, ns);
	}
}

/* A thread does not want a CPU any more. */
static __always_inline void leaves(struct jvm *j, enum kind kind, __u64 now)
{
	__u64 left;

	if (kind == APPLICATION) {
		left = __sync_fetch_and_add(&j->running, -1ULL) - 1;
		if (APPS(left))
			return;
		j->stopped = now;
		j->stall = COLLECTORS(left) ? now : 0;
	} else {
		left = __sync_fetch_and_add(&j->running, -ONE_COLLECTOR) - ONE_COLLECTOR;
		if (!COLLECTORS(left))
			j->rested = now;
	}
}

static __always_inline void enters(struct jvm *j, enum kind kind, __u64 now)
{
	__u64 others;

	if (kind == APPLICATION) {
		others = __sync_fetch_and_add(&j->running, 1);
		if (!APPS(others))
			stall_ends(j, COLLECTORS(others) ? now : j->rested);
		return;
	}
	others = __sync_fetch_and_add(&j->running, ONE_COLLECTOR);
	if (APPS(others) || COLLECTORS(others))
		return;
	if (j->stall && now - j->rested > REST) {
		stall_ends(j, j->rested);
		j->stopped = 0; /* and what follows is not soon */
	}
	if (!j->stall && now - j->stopped < SOON)
		j->stall = now;
}

static __always_inline void switch_out(struct task_struct *p, struct slot *s, __u64 now)
{
	__u32 tgid = p->tgid, tid = p->pid;
	struct jvm *j = bpf_map_lookup_elem(&jvms, &tgid);
	__u8 *kind;

	if (!j)
		return;
	ran(j, s, now);
	if (p->__state == 0) /* TASK_RUNNING */
		return;
	kind = bpf_map_lookup_elem(&running, &tid);
	if (kind) {
		enum kind k = *kind;

		bpf_map_delete_elem(&running, &tid);
		leaves(j, k, now);
	}
}

static __always_inline void switch_in(struct task_struct *p, struct slot *s, __u64 now)
{
	__u32 tgid = p->tgid, tid = p->pid;
	struct jvm *j = bpf_map_lookup_elem(&jvms, &tgid);
	__u8 kind;

	if (!j)
		return;
	kind = kind_of(p);
	s->tid = tid;
	s->since = now;
	s->kind = kind;
	if (kind == OTHER || bpf_map_lookup_elem(&running, &tid))
		return;
	if (bpf_map_update_elem(&running, &tid, &kind, BPF_NOEXIST))
		__sync_fetch_and_add(&lost, 1);
	else
		enters(j, kind, now);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 zero = 0;
	struct slot *s;

	if (now < window_start || now >= window_end)
		return 0;
	s = bpf_map_lookup_elem(&slots, &zero);
	if (!s)
		return 0;
	/* Who was on a CPU when the window began is known from its next time on. */
	if (s->tid && s->tid == prev->pid)
		switch_out(prev, s, now);
	s->tid = 0;
	if (!(next->flags & PF_KTHREAD))
		switch_in(next, s, now);
	return 0;
}

/* The order of points() in probe.go. */
enum point { GC_BEGIN, GC_END, SAFEPOINT_BEGIN, SAFEPOINT_END, POOL_BEGIN, POOL_END };

/* Of a pool: (manager, its length, pool, its length, init, used, committed, max). */
static __always_inline __u64 heap_bytes(void *ctx, struct usdt_spec *spec)
{
	__u64 name = 0, used = 0;
	char pool[8] = {};

	if (usdt_arg(ctx, spec, 2, &name) || usdt_arg(ctx, spec, 5, &used) ||
	    bpf_probe_read_user(pool, 4, (void *)name)) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	/* CodeHeap, CodeCache, Metaspace, Compressed Class Space are not of the heap. */
	if (word(pool, 4) == word("Code    ", 4) || word(pool, 4) == word("Meta    ", 4) || word(pool, 4) == word("Comp    ", 4))
		return 0;
	return used;
}

static __always_inline void safepoint_ends(struct jvm *j, __u64 now)
{
	__u64 start = window_start, began = j->safepoint;
	bool collected = j->in_safepoint || j->collections;

	j->safepoint = 0;
	j->in_safepoint = 0;
	if (!began && !collected)
		return; /* it began before the window, and what it was for is not known */
	if (began < start)
		began = start;
	add(collected ? &j->pauses : &j->others, now - began);
}

SEC("uprobe")
int on_point(void *ctx)
{
	struct usdt_spec *spec = usdt_spec(ctx);
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	__u64 now = bpf_ktime_get_ns(), v = 0;
	struct jvm *j = bpf_map_lookup_elem(&jvms, &tgid);

	if (!j || !spec || now >= window_end || now < window_start)
		return 0;
	switch (spec->point) {
	case GC_BEGIN:
		if (!usdt_arg(ctx, spec, 0, &v) && v)
			j->full++;
		j->collections++;
		j->in_safepoint = 1;
		j->phase = NOTHING;
		break;
	case GC_END:
		if (j->collections)
			j->collections--;
		j->in_safepoint = 1; /* also of one that began before the window */
		if (j->phase == AFTER) {
			j->heap_before = j->before;
			j->heap_after = j->after;
		}
		break;
	case SAFEPOINT_BEGIN:
		j->safepoint = now;
		j->in_safepoint = j->collections > 0;
		break;
	case SAFEPOINT_END:
		safepoint_ends(j, now);
		break;
	case POOL_BEGIN: /* once for each pool; one collection may be two, of the young and of all */
		if (j->phase == NOTHING) {
			j->before = 0;
			j->phase = BEFORE;
		}
		if (j->phase == BEFORE)
			j->before += heap_bytes(ctx, spec);
		else
			j->phase = AGAIN;
		break;
	case POOL_END:
		if (j->phase != AFTER)
			j->after = 0;
		j->phase = AFTER;
		j->after += heap_bytes(ctx, spec);
		break;
	}
	return 0;
}
