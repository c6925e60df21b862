/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ledger of one thread. All times are clamped to the window, so a state may
 * begin before it and end after it, and the parts still add up to the window.
 */
#pragma once

/* In the order of incident.States(). */
enum state { ON_CPU, RUN_QUEUE, THROTTLED, IO, RECLAIM, KERNEL_LOCK, USER_LOCK, SLEEP, NUM_STATES };

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
	__u64 held0[3];   /* and how long its CPU had been held until then, by whom (holders.h) */
	__u64 behind[3];  /* the part of RUN_QUEUE in which that CPU was the target's own threads', others', and kmend's */
	__u32 window;
	__u32 state;
	__u32 may_throttle; /* whether the wait can have a throttled part */
	__u32 done;         /* its record is written */
	__u32 reclaims;     /* it is in the kernel's memory reclaim: on a CPU, that is its state */
	__u32 cpu;          /* in whose queue it waits */
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

	if (!readable(p)->bpf_storage) /* spares everyone else the call */
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
	__u64 id = readable(p)->sched_task_group->css.cgroup->kn->id;

	return id ? id : 1; /* an autogroup has no directory: it stands for the root */
}

/*
 * The system call that a thread is in, as far as its name says what the thread
 * waits for. Numbers are those of x86_64, and of arm64 where its pt_regs are.
 */
enum call { OTHER_CALL, FUTEX_CALL, FILE_CALL };

static __always_inline enum call call_of_x86(long nr)
{
	switch (nr) {
	case 202: /* futex */
		return FUTEX_CALL;
	case 1: case 18: case 20: case 296: case 328: /* write, pwrite64, writev, pwritev, pwritev2 */
	case 26: case 74: case 75: case 162: case 277: case 306: /* msync, fsync, fdatasync, sync, sync_file_range, syncfs */
	case 40: case 275: case 326: /* sendfile, splice, copy_file_range */
	case 2: case 3: case 76: case 77: case 257: case 285: /* open, close, truncate, ftruncate, openat, fallocate */
	case 82: case 83: case 87: case 263: case 264: case 316: /* rename, mkdir, unlink, unlinkat, renameat, renameat2 */
		return FILE_CALL;
	}
	return OTHER_CALL;
}

static __always_inline enum call call_of_arm64(long nr)
{
	switch (nr) {
	case 98:
		return FUTEX_CALL;
	case 64: case 66: case 68: case 70: case 287:
	case 81: case 82: case 83: case 84: case 227: case 267:
	case 71: case 76: case 285:
	case 45: case 46: case 47: case 56: case 57:
	case 34: case 35: case 38: case 276:
		return FILE_CALL;
	}
	return OTHER_CALL;
}

static __always_inline enum call call_of(struct task_struct *p)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(p);
	bool x86 = bpf_core_field_exists(regs->orig_ax);
	long nr = x86 ? regs->orig_ax : regs->syscallno;

	if (nr == 449 /* futex_waitv */ || nr == 455 /* futex_wait */)
		return FUTEX_CALL;
	return x86 ? call_of_x86(nr) : call_of_arm64(nr);
}

/* The kernel's own mark of a thread that waits for memory, for its pressure stall information. */
static __always_inline bool in_memstall(struct task_struct *task)
{
	return bpf_core_field_exists(task->in_memstall) && BPF_CORE_READ_BITFIELD(task, in_memstall);
}

/*
 * What a thread that gave up its CPU waits for. A read that only puts back what
 * reclaim took is reclaim. A file system's journal is waited for without
 * in_iowait: asleep where no signal wakes it, in a system call on files.
 */
static __always_inline enum state blocked_state(struct task_struct *task, struct thread_state *s)
{
	__u32 why = task->__state;
	enum call call;

	if (s->reclaims || in_memstall(task))
		return RECLAIM;
	if (BPF_CORE_READ_BITFIELD(task, in_iowait))
		return IO;
	if (s->lock)
		return KERNEL_LOCK;
	call = call_of(task);
	if (call == FUTEX_CALL)
		return USER_LOCK;
	return call == FILE_CALL && (why & TASK_UNINTERRUPTIBLE) && !(why & TASK_NOLOAD) ? IO : SLEEP;
}
