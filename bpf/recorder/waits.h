/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is remembered of a thread between its switches.
 *
 * How long it waits for a CPU is the kernel's own account (sched_info), so that
 * no wakeup has to be watched: since when it is queued, and run_delay, which also
 * has the waits on queues that it was moved away from. A blocked thread was woken
 * when it was queued.
 *
 * The table is direct-mapped by thread id: a lookup is a few instructions where a
 * task storage is several calls. Of two threads that want the same place the one
 * that ran last has it; the other's wait counts from its last move between queues
 * only, and what it was blocked on is not recorded.
 */
#pragma once

struct waiter {
	__u64 task;
	__u64 group;     /* its task_group when it was last switched out, */
	__u64 run_delay; /* and that of sched_info */
	__u64 blocked_since;
	__u64 short_runs;  /* time on CPUs << RUN_SHIFT and how many, in no cell yet */
	__u64 short_waits; /* and for CPUs before */
	__u16 tick;        /* the second in which it was active for */
	__u16 active;      /* so many us; COUNTED: in cell.threads */
	__u16 cell;        /* of the group; 0: none */
	__u16 generation;  /* when that was looked up */
	__u8 blocked;      /* REC_IO, REC_RECLAIM or REC_KERNEL_LOCK; 0: not, or in a wait that is not recorded */
	__u8 labels;       /* LABEL_* that it had when it was switched out */
	__u8 may_throttle; /* its storage says where the wait began */
	__u8 limited;      /* the cell's */
	__u8 near;         /* written when a thread gets a CPU */
	__u8 pad[3];
};

enum { WAITERS = 65536 }; /* a power of two */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE); /* aligns it */
	__uint(max_entries, WAITERS);
	__type(key, __u32);
	__type(value, struct waiter);
} waiters SEC(".maps");

/* For throttle.h: a runnable wait that may have a throttled part. */
struct thread_state {
	__u64 since;
	__u64 cfs_rq;
	__u64 clock0;
	__u64 throttled0;
	__u32 state;
	__u32 may_throttle;
};

enum { RUN_QUEUE = REC_RUN_QUEUE }; /* of throttle.h */
enum { LABEL_LOCK = 1, LABEL_RECLAIM = 2, LABEL_UNLOCKED = 4 /* since it got the CPU */ };

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct thread_state);
} queued_threads SEC(".maps");

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sched_info {
	unsigned long long run_delay;
	unsigned long long last_queued;
};

struct mm_struct;

struct signal_struct {
	struct mm_struct *oom_mm;
};

struct task_struct___recorder {
	struct sched_info sched_info;
	struct signal_struct *signal;
	unsigned in_memstall : 1; /* with CONFIG_PSI */
};

#pragma clang attribute pop

/* The place of p, which somebody else may have. */
static __always_inline __u32 place_number(struct task_struct *p)
{
	return p->pid & (WAITERS - 1);
}

static __always_inline struct waiter *place_of(struct task_struct *p)
{
	__u32 i = place_number(p);

	return bpf_map_lookup_elem(&waiters, &i);
}

static __always_inline struct waiter *known(struct task_struct *p)
{
	struct waiter *w = place_of(p);

	return w && w->task == (__u64)p ? w : 0;
}

/* A wait of more than a second, which belongs into earlier buckets too. */
struct long_wait {
	__u64 cgroup;
	__u64 begin, end; /* the scheduler's clock */
	__u32 state;      /* enum recorded */
	__u32 ready;      /* its number and 1, once it is written */
};

enum { LONG_WAITS = 1024 };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LONG_WAITS);
	__type(key, __u32);
	__type(value, struct long_wait);
} long_waits SEC(".maps");

volatile __u32 long_head; /* written */
volatile __u32 long_tail; /* read by user space */

#define LONG_NS 1000000000ull

static __always_inline void add_wait(struct cell *c, __u32 state, __u64 begin, __u64 end)
{
	__u64 ns = end - begin;

	if ((__s64)ns <= 0)
		return;
	if (ns >= LONG_NS && long_head - long_tail < LONG_WAITS) {
		__u32 number = __sync_fetch_and_add(&long_head, 1), i = number % LONG_WAITS;
		struct long_wait *w = bpf_map_lookup_elem(&long_waits, &i);

		if (w) {
			w->cgroup = c->cgroup;
			w->begin = begin;
			w->end = end;
			w->state = state;
			__sync_lock_test_and_set(&w->ready, number + 1);
			return;
		}
	}
	if (state < NUM_RECORDED)
		count(c->ns[state], ns);
}

/*
 * Short times add up in the thread's place. Who makes it not empty says so, and
 * the reader empties all of them: the mark is taken back first, so none is missed.
 */
enum { RUN_SHIFT = 24, PLACES_A_PAGE = 64, DIRTY_PAGES = WAITERS / PLACES_A_PAGE };
#define SHORT_NS 1000000ull

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DIRTY_PAGES);
	__type(key, __u32);
	__type(value, __u64);
} dirty_pages SEC(".maps");

static __always_inline void add_short(struct waiter *w, __u32 place, __u64 ran, __u64 wait)
{
	__u32 page = place / PLACES_A_PAGE;
	__u64 *dirty;

	if (wait)
		count(w->short_waits, wait);
	if (__sync_fetch_and_add(&w->short_runs, (ran << RUN_SHIFT) + 1))
		return;
	dirty = bpf_map_lookup_elem(&dirty_pages, &page);
	if (dirty)
		__sync_lock_test_and_set(dirty, 1);
}

static __always_inline void flush_place(struct waiter *w)
{
	__u64 runs = __sync_lock_test_and_set(&w->short_runs, 0), waits = __sync_lock_test_and_set(&w->short_waits, 0);
	struct cell *c = cell_at(w->cell);

	if (!c)
		return;
	if (runs) {
		count(c->ns[REC_ON_CPU], runs >> RUN_SHIFT);
		count(c->switches, runs & ((1 << RUN_SHIFT) - 1));
	}
	if (waits)
		count(c->ns[REC_RUN_QUEUE], waits);
}
