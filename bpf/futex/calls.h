/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which futex call a thread is in, from the registers it entered the kernel with:
 * no system call needs to be traced for it.
 */
#pragma once

/* The numbers are the same on x86_64 and arm64 but for futex(2) itself. */
#define NR_FUTEX_X86_64 202
#define NR_FUTEX_ARM64 98
#define NR_FUTEX_WAITV 449
#define NR_FUTEX_WAKE 454
#define NR_FUTEX_WAIT 455

/* From include/uapi/linux/futex.h. */
#define FUTEX_PRIVATE_FLAG 128
#define FUTEX_CMD_MASK 127
enum {
	FUTEX_WAIT, FUTEX_WAKE, FUTEX_FD, FUTEX_REQUEUE, FUTEX_CMP_REQUEUE, FUTEX_WAKE_OP, FUTEX_LOCK_PI, FUTEX_UNLOCK_PI,
	FUTEX_TRYLOCK_PI, FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET, FUTEX_WAIT_REQUEUE_PI, FUTEX_CMP_REQUEUE_PI, FUTEX_LOCK_PI2,
};

struct futex_waitv {
	__u64 val;
	__u64 uaddr;
	__u32 flags;
	__u32 reserved;
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct pt_regs___call_x86_64 {
	unsigned long orig_ax, di, si, dx, r10, r8;
};
struct pt_regs___call_arm64 {
	__u64 regs[31];
	int syscallno;
};
#pragma clang attribute pop

enum doing { NOTHING, WAITS, LOCKS_PI, WAKES };

struct call {
	__u64 address;
	__u64 other;  /* WAKES: a second address that it may wake, or 0 */
	__u32 value;  /* WAITS: while the word is this; WAKES: how many */
	__u32 shared; /* between processes */
};

static __always_inline enum doing by_command(struct call *c, __u32 op, __u64 other)
{
	c->shared = !(op & FUTEX_PRIVATE_FLAG);
	switch (op & FUTEX_CMD_MASK) {
	case FUTEX_WAIT:
	case FUTEX_WAIT_BITSET:
	case FUTEX_WAIT_REQUEUE_PI:
		return WAITS;
	case FUTEX_LOCK_PI:
	case FUTEX_LOCK_PI2:
		return LOCKS_PI;
	case FUTEX_UNLOCK_PI:
		c->value = 1;
		return WAKES;
	case FUTEX_WAKE_OP:
	case FUTEX_REQUEUE:
	case FUTEX_CMP_REQUEUE:
	case FUTEX_CMP_REQUEUE_PI:
		c->other = other;
		return WAKES;
	case FUTEX_WAKE:
	case FUTEX_WAKE_BITSET:
		return WAKES;
	}
	return NOTHING;
}

static __always_inline enum doing by_number(struct call *c, long nr, long futex, __u64 a0, __u64 a1, __u64 a2, __u64 a3, __u64 a4)
{
	c->address = a0;
	c->other = 0;
	if (nr == futex) {
		c->value = a2;
		return by_command(c, a1, a4);
	}
	switch (nr) {
	case NR_FUTEX_WAIT:
		c->value = a1;
		c->shared = !(a3 & FUTEX_PRIVATE_FLAG);
		return WAITS;
	case NR_FUTEX_WAKE:
		c->value = a2;
		c->shared = !(a3 & FUTEX_PRIVATE_FLAG);
		return WAKES;
	case NR_FUTEX_WAITV: {
		struct futex_waitv w = {};

		/* A wait for any of several words is not one for a lock. */
		if (a1 != 1 || bpf_probe_read_user(&w, sizeof(w), (void *)a0))
			return NOTHING;
		c->address = w.uaddr;
		c->value = w.val;
		c->shared = !(w.flags & FUTEX_PRIVATE_FLAG);
		return WAITS;
	}
	}
	return NOTHING;
}

/* Of the current thread only: what a pointer points to is read from its memory. */
static __always_inline enum doing call_of(struct task_struct *p, struct call *c)
{
	struct pt_regs___call_x86_64 *x = (void *)bpf_task_pt_regs(p);
	struct pt_regs___call_arm64 *a = (void *)x;

	if (bpf_core_field_exists(x->orig_ax))
		return by_number(c, x->orig_ax, NR_FUTEX_X86_64, x->di, x->si, x->dx, x->r10, x->r8);
	return by_number(c, a->syscallno, NR_FUTEX_ARM64, a->regs[0], a->regs[1], a->regs[2], a->regs[3], a->regs[4]);
}
