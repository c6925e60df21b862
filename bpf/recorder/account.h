/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is remembered of a thread.
 *
 * How long it ran and how long it waited for CPUs is the kernel's own account
 * (sum_exec_runtime, sched_info). The reader looks it up once a second, of the threads
 * that had a CPU since: a switch only writes down who gave up the CPU. Of waits that
 * the kernel does not tell from others it sees those for I/O and memory, by the
 * thread's own flags; kernel locks have tracepoints; and while threads are throttled
 * somewhere on the node, each switch also asks whether this was one of them.
 *
 * What costs are lines and pages of memory that nobody has used for a while. So the
 * switch touches what the scheduler has just touched itself, and what every switch
 * touches.
 */
#pragma once

#include "walk.h"

/*
 * A cache, by thread id, for threads that are preempted or throttled; another may take
 * the place. No two write the same field at a time, or what they write is the same:
 * none needs an atomic. All of them fit into 32 KiB, up to where the kernel takes the
 * memory of a table from its direct map, whose addresses are in the TLB.
 */
struct mark {
	__u32 pid;    /* whose it is */
	__u8 listed;  /* for the reader, which takes it back */
	__u8 waiting; /* its account's */
	__u8 known;   /* the next holds, while this is the generation */
	__u8 limited; /* its group or one above has a quota */
};

enum { MARKS = 4032 };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MARKS);
	__type(key, __u32);
	__type(value, struct mark);
} marks SEC(".maps");

/* A wait, for throttle.h and for what is not a wait for a CPU. */
struct thread_state {
	__u64 since; /* the scheduler's clock */
	__u64 cfs_rq;
	__u64 clock0;
	__u64 throttled0;
	__u32 state; /* enum recorded; REC_RUN_QUEUE: it may have a throttled part */
	__u32 may_throttle;
};

enum { RUN_QUEUE = REC_RUN_QUEUE }; /* of throttle.h */

/* What the kernel has counted for a thread. */
struct counts {
	__u64 runtime;
	__u64 run_delay;
	__u64 runs;
};

/* First what the reader looks at each time: it is one line. */
struct account {
	__u64 task;         /* 0: it has ended, and its end is */
	struct counts done; /* of what the kernel has counted, what is in the cells */
	__u64 waited;       /* in other waits than for CPUs, since it was last read */
	__u64 throttled;    /* waits for CPUs that are in the cells as such, and are in run_delay too */
	__u32 cell;         /* number of its group's, when it was last read or when it ended */
	__u16 kernel;
	__u16 waits; /* until it has had a CPU again */
	struct thread_state wait;
	__u64 wait_delay;    /* run_delay when it began */
	__u64 lock;          /* of the kernel that it sleeps for; 0: none */
	__u64 lock_since;    /* CLOCK_MONOTONIC */
	__u64 lock_delay;    /* run_delay then */
	__u64 reclaim_since; /* CLOCK_MONOTONIC; 0: it does not. And then */
	__u64 reclaim_runtime;
	__u64 reclaim_delay;
	struct counts end;
	__u64 serial; /* of its group, then */
};

/* By thread id. Only the reader takes one out, so that none changes hands meanwhile. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct account);
} accounts SEC(".maps");

enum { BLOCK = 256, LOGGED = 64 * BLOCK }; /* of each CPU */

volatile __u32 watching; /* each CPU's watch */

/*
 * Of a CPU: who has it, and who gave it up since the reader came by: a log whose last
 * block is here, and those before it in logs. So a switch touches no other memory of
 * ours, and of up to 15 CPUs this is 32 KiB: from the kernel's direct map, as marks.
 */
struct slot {
	__u64 task;
	__u32 head;  /* entries of the log that were written */
	__u32 moved; /* of them, those that are in logs */
	__u32 tail;  /* read */
	__u32 watch; /* threads are throttled somewhere, or were when the reader last came by */
	__u64 spinner; /* a thread that spins for a lock, and for which */
	__u64 spun_for;
	__u64 block[BLOCK];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* user space sets it to the CPUs */
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

static long set_watch(void *map, __u32 *cpu, struct slot *slot, __u32 *on)
{
	slot->watch = *on;
	return 0;
}

static __noinline int watch(__u32 on)
{
	watching = on;
	bpf_for_each_map_elem(&slots, set_watch, &on, 0);
	return 0;
}

struct block {
	__u64 tasks[BLOCK];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LOGGED / BLOCK); /* user space multiplies it by the CPUs */
	__type(key, __u32);
	__type(value, struct block);
} logs SEC(".maps");

static __always_inline struct block *block_of(__u32 cpu, __u32 entry)
{
	__u32 i = cpu * (LOGGED / BLOCK) + entry % LOGGED / BLOCK;

	return bpf_map_lookup_elem(&logs, &i);
}

/* Makes room for the next block, before anything of this one is written over. */
static __noinline int move_block(struct slot *slot, __u32 cpu)
{
	struct block *to = block_of(cpu, slot->moved);

	if (to)
		bpf_probe_read_kernel(to, sizeof(*to), slot->block);
	__sync_lock_test_and_set(&slot->moved, slot->head);
	return 0;
}

/* The reader's, to look up each of those once. */
struct seen {
	__u64 task;
	__u64 tick;
};

enum { SEEN = 4096 };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SEEN);
	__type(key, __u32);
	__type(value, struct seen);
} seen SEC(".maps");

const volatile __u64 began = 0; /* CLOCK_MONOTONIC when this was loaded */
volatile __u8 generation = 1; /* counts up when a process of the node is moved */
volatile __u64 throttled_threads; /* that have not had a CPU since */

/* Ids of threads that ended, or for which the log had no room. */
enum { LISTED = 65536 };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LISTED);
	__type(key, __u32);
	__type(value, __u32);
} list SEC(".maps");

volatile __u32 list_head; /* written */
volatile __u32 list_tail; /* read */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sched_info {
	unsigned long pcount;
	unsigned long long run_delay;
	unsigned long long last_arrival;
	unsigned long long last_queued;
};

struct sched_entity___recorder {
	__u64 sum_exec_runtime;
};

struct mm_struct;

struct signal_struct {
	struct mm_struct *oom_mm;
};

struct task_struct___recorder {
	struct {
		struct {
			int counter;
		} refs;
	} usage;
	unsigned int __state;
	unsigned int flags;
	__u64 start_time;
	struct sched_entity___recorder se;
	struct sched_info sched_info;
	int pid;
	struct signal_struct *signal;
	unsigned in_memstall : 1; /* with CONFIG_PSI */
};

#pragma clang attribute pop

static __always_inline struct account *account_of(struct task_struct *p)
{
	__u32 pid = readable(p)->pid;

	return bpf_map_lookup_elem(&accounts, &pid);
}

/* The mark of a thread, which may be another's. */
static __always_inline struct mark *mark_at(__u32 pid)
{
	__u32 i = pid % MARKS;

	return bpf_map_lookup_elem(&marks, &i);
}

static __noinline int take_mark(struct mark *m, __u32 pid)
{
	struct account *a = bpf_map_lookup_elem(&accounts, &pid);

	m->pid = pid;
	m->listed = false;
	m->known = 0;
	m->waiting = a && a->waits;
	return 0;
}

static __always_inline struct mark *mark_of(struct task_struct *p)
{
	__u32 pid = readable(p)->pid;
	struct mark *m = mark_at(pid);

	if (m && m->pid != pid)
		take_mark(m, pid);
	return m;
}

static __always_inline struct task_struct___recorder *more_of(struct task_struct *p)
{
	return (struct task_struct___recorder *)readable(p);
}

static __always_inline void counts_of(struct task_struct *p, struct counts *n)
{
	struct task_struct___recorder *r = more_of(p);

	n->runtime = r->se.sum_exec_runtime;
	n->run_delay = r->sched_info.run_delay;
	n->runs = r->sched_info.pcount;
}

static __always_inline bool put_on_list(__u32 pid)
{
	__u32 i;

	if (list_head - list_tail >= LISTED - 1024) /* as many may come between the question and the answer */
		return false;
	i = __sync_fetch_and_add(&list_head, 1) % LISTED;
	bpf_map_update_elem(&list, &i, &pid, BPF_ANY);
	return true;
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

/* This CPU's clock, of a thread that is queued or runs here. */
static __always_inline __u64 clock_of(struct task_struct *p)
{
	return readable(p)->se.cfs_rq->rq->clock;
}
