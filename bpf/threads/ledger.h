/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ledger of one thread. All times are clamped to the window, so a state may
 * begin before it and end after it, and the parts still add up to the window.
 */
#pragma once

/* In the order of incident.States(). */
enum state { ON_CPU, RUN_QUEUE, THROTTLED, IO, KERNEL_LOCK, USER_LOCK, SLEEP, NUM_STATES };

/* The window, CLOCK_MONOTONIC. Both are ~0 until every thread of the target is known. */
volatile __u64 window_start = ~0ull;
volatile __u64 window_end = ~0ull;
volatile __u32 window_id; /* tells the storage of this window from that of an earlier one */

struct thread_state {
	__u64 since;  /* begin of the current state */
	__u64 joined; /* 0, or when a living thread was moved into the target */
	__u64 ns[NUM_STATES];
	__u64 lock;   /* the contended kernel lock it waits for, or 0 */
	__u64 cfs_rq; /* of a wait for a CPU: where it waits, */
	__u64 clock0; /* the clock of that queue when the wait began */
	__u64 throttled0; /* and how long the queue had been throttled until then */
	__u32 window;
	__u32 state;
	__u32 may_throttle; /* whether the wait can have a throttled part */
	__u32 done;         /* its record is written */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct thread_state);
} thread_states SEC(".maps");

/*
 * An event looks at the window once: user space opens it between two of its
 * reads otherwise. The start is set before it has come, so an event that still
 * sees no window lies before it.
 */
struct moment {
	__u64 now, start, end;
};

static __always_inline struct moment at(__u64 now)
{
	struct moment m = {.now = now, .start = window_start, .end = window_end};

	return m;
}

static __always_inline __u64 clamp(const struct moment *m, __u64 t)
{
	if (t < m->start)
		t = m->start;
	return t > m->end ? m->end : t;
}

static __always_inline __u64 span(const struct moment *m, __u64 from, __u64 to)
{
	return clamp(m, to) - clamp(m, from);
}

/* The thread's ledger in this window, or NULL: not (yet) of the target. */
static __always_inline struct thread_state *tracked(struct task_struct *p)
{
	struct thread_state *s;

	if (!p->bpf_storage) /* spares everyone else the call */
		return 0;
	s = bpf_task_storage_get(&thread_states, p, 0, 0);
	return s && s->window == window_id ? s : 0;
}

/* Starts the ledger of p, in the given state since now. */
static __always_inline struct thread_state *track(struct task_struct *p)
{
	struct thread_state *s = bpf_task_storage_get(&thread_states, p, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!s) {
		count_lost();
		return 0;
	}
	if (s->window != window_id) {
		__builtin_memset(s, 0, sizeof(*s));
		s->window = window_id;
	}
	return s;
}

static __always_inline __u64 task_group_id(struct task_struct *p)
{
	__u64 id = p->sched_task_group->css.cgroup->kn->id;

	return id ? id : 1; /* an autogroup has no directory: it stands for the root */
}

static __always_inline bool in_futex(struct task_struct *p)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(p);
	long nr, futex;

	if (bpf_core_field_exists(regs->orig_ax)) {
		nr = regs->orig_ax;
		futex = 202;
	} else {
		nr = regs->syscallno;
		futex = 98;
	}
	return nr == futex || nr == 449 /* futex_waitv */ || nr == 455 /* futex_wait */;
}

/* What a thread that gave up its CPU waits for. */
static __always_inline enum state blocked_state(struct task_struct *task, struct thread_state *s)
{
	if (BPF_CORE_READ_BITFIELD(task, in_iowait))
		return IO;
	if (s->lock)
		return KERNEL_LOCK;
	return in_futex(task) ? USER_LOCK : SLEEP;
}
