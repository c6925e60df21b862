//go:build ignore

// SPDX-License-Identifier: GPL-2.0
/*
 * The flight recorder: for every task group of the node, how long its threads
 * were in each active state of the ledger, and some counters. It runs all the
 * time, so it must cost next to nothing: one program on sched_switch, nothing on
 * wakeups where the kernel allows, nothing to user space an event.
 *
 * What the kernel counts itself, time on CPUs and waits for them, is read once a
 * second of the threads that had a CPU (account.h). The program on sched_switch
 * sees to waits for I/O and memory, and to throttling; kernel locks have tracepoints.
 *
 * Times are on the scheduler's clock (rq->clock), which is at hand. User space
 * turns it into CLOCK_MONOTONIC with clock_offset.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "cells.h"
#include "account.h"
#include "throttle.h"
#include "tcp.h"
#include "block.h"
#include "victims.h"
#include "settle.h"

char LICENSE[] SEC("license") = "GPL";

/*
 * What a thread waits for that blocks, by its own flags, which it takes back when it
 * runs again; 0: something else. in_memstall is there with CONFIG_PSI.
 */
static __always_inline __u32 waits_for(struct task_struct *p)
{
	struct task_struct___recorder *r = (void *)p;
	struct task_struct *task = p; /* the macro has a p of its own */

	if (bpf_core_field_exists(r->in_memstall) && BPF_CORE_READ_BITFIELD(r, in_memstall))
		return REC_RECLAIM;
	return BPF_CORE_READ_BITFIELD(task, in_iowait) ? REC_IO : 0;
}

/* A thread that was there before begins with what it has done since it is known. */
static __noinline struct account *new_account(struct task_struct *p)
{
	struct account first = {.task = (__u64)p, .kernel = !!(readable(p)->flags & PF_KTHREAD)};
	__u32 pid = readable(p)->pid;

	if (readable(p)->start_time < began)
		counts_of(p, &first.done);
	bpf_map_update_elem(&accounts, &pid, &first, BPF_NOEXIST);
	return bpf_map_lookup_elem(&accounts, &pid);
}

static __always_inline struct account *account_for(struct task_struct *p)
{
	return account_of(p) ?: new_account(p);
}

/* A wait begins that the kernel does not tell from others; REC_RUN_QUEUE: it may be throttled. */
static __noinline int begin_waiting(struct task_struct *p, __u32 state)
{
	struct account *a = account_for(p);
	__u64 now = clock_of(p);

	/* Of a thread that reclaims all is counted when it is done. */
	if (!a || (a->reclaim_since && state != REC_RUN_QUEUE))
		return 0;
	if (state == REC_RUN_QUEUE) {
		begin_wait(p, &a->wait, now, true);
		if (!a->wait.may_throttle)
			return 0;
		if (!a->waits) {
			count(throttled_threads, 1);
			if (!watching)
				watch(true);
		}
	} else {
		a->wait.since = now;
		a->wait.state = state;
	}
	a->wait_delay = more_of(p)->sched_info.run_delay;
	a->waits = true;
	return 0;
}

/* It has ended: p was woken at that time, or got a CPU at that time. */
static __noinline int end_waiting(struct task_struct *p, __u64 end)
{
	struct account *a = account_of(p);
	struct cell *c = cell_of(p);
	__u64 since, took;

	if (!a || !c || !a->waits)
		return 0;
	a->waits = false;
	since = a->wait.since;
	if (a->wait.state == REC_RUN_QUEUE) {
		/*
		 * Its queue was not throttled since, p ran. That on the PELT clock is scaled
		 * by the time until now.
		 */
		bool pelt = !bpf_core_field_exists(p->se.cfs_rq->throttled_clock_self);

		count(throttled_threads, -1);
		if ((__s64)(end - since) <= 0)
			return 0;
		took = throttled_part(p, &a->wait, pelt ? clock_of(p) : end, pelt);
		took = took < end - since ? took : end - since;
		add_wait(c, REC_THROTTLED, since, since + took);
		count(a->throttled, took);
	} else if ((__s64)(end - since) > 0) {
		add_wait(c, a->wait.state, since, end);
		count(a->waited, end - since);
	}
	return 0;
}

/* Seen for the first time, or for the first time in this group. */
static __noinline int find_group(struct task_struct *p, struct mark *m)
{
	struct cell *c;

	m->known = generation;
	c = cell_of(p);
	m->limited = c && c->limited && !(readable(p)->flags & PF_KTHREAD);
	return 0;
}

/* It ends, and the reader will find it gone. */
static __noinline int forget(struct task_struct *p)
{
	struct account *a = account_for(p);
	__u32 pid = readable(p)->pid;
	struct mark *m = mark_at(pid);
	struct cell *c;

	if (m && m->pid == pid)
		m->pid = 0;
	if (!a) {
		no_cell++;
		return 0;
	}
	if (a->waits && a->wait.state == REC_RUN_QUEUE)
		count(throttled_threads, -1);
	a->waits = false;
	counts_of(p, &a->end);
	a->cell = cell_number(p);
	c = cell_at(a->cell);
	a->serial = c ? c->serial : 0;
	__sync_lock_test_and_set(&a->task, 0);
	put_on_list(pid);
	return 0;
}

/* Preempted, throttled, or for the first time on a CPU since it was throttled. */
static __noinline int leave_limited(struct task_struct *p, bool runnable)
{
	struct mark *m = mark_of(p);

	if (!m)
		return 0;
	if (m->waiting) {
		end_waiting(p, more_of(p)->sched_info.last_arrival);
		m->waiting = false;
	}
	if (!runnable)
		return 0;
	if (m->known != generation)
		find_group(p, m);
	/* Only what may be throttled is remembered: see throttle.h. */
	if (m->limited && (!bpf_core_field_exists(p->throttled) || readable(p)->throttled)) {
		begin_waiting(p, REC_RUN_QUEUE);
		m->waiting = true;
	}
	return 0;
}

/* The log of this CPU is full: the thread goes on the list, once. */
static __noinline int list_thread(struct task_struct *p)
{
	struct mark *m = mark_of(p);

	if (!m || m->listed)
		return 0;
	if (account_for(p) && put_on_list(readable(p)->pid))
		m->listed = true;
	else
		no_cell++;
	return 0;
}

#define PF_IDLE 0x00000002 /* include/linux/sched.h */

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	__u32 cpu = bpf_get_smp_processor_id(), flags = prev->flags, state = prev->__state;
	struct slot *slot = bpf_map_lookup_elem(&slots, &cpu);
	bool runnable = preempt || !state;

	if (!slot)
		return 0;
	slot->task = (__u64)next;
	if (!(flags & PF_IDLE)) {
		if (slot->head - slot->tail < LOGGED) {
			if (slot->head - slot->moved == BLOCK)
				move_block(slot, cpu);
			slot->block[slot->head % BLOCK] = (__u64)prev;
			barrier(); /* the reader may be on its way */
			slot->head++;
		} else {
			list_thread(prev);
		}
		if (!(flags & PF_KTHREAD)) {
			if (slot->watch || (runnable && (!bpf_core_field_exists(prev->throttled) || prev->throttled)))
				leave_limited(prev, runnable);
			if (!runnable && waits_for(prev))
				begin_waiting(prev, waits_for(prev));
		}
		if (state & TASK_DEAD)
			forget(prev);
	}
	if (waits_for(next))
		end_waiting(next, more_of(next)->sched_info.last_queued);
	return 0;
}

/*
 * Before 6.18 a thread that wakes in a group whose quota is used up waits in a
 * throttled queue: where the wait begins must be seen. Since then only a thread
 * that returns to user space is throttled, and this is not attached.
 */
static __always_inline void woken(struct task_struct *p)
{
	struct mark *m;

	if (readable(p)->flags & PF_KTHREAD)
		return;
	m = mark_of(p);
	if (!m)
		return;
	if (m->known != generation)
		find_group(p, m);
	if (!m->limited)
		return;
	end_waiting(p, clock_of(p));
	begin_waiting(p, REC_RUN_QUEUE);
	m->waiting = true;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(on_wakeup, struct task_struct *p)
{
	woken(p);
	return 0;
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(on_wakeup_new, struct task_struct *p)
{
	woken(p);
	return 0;
}

/* A process is moved, of which only the leader is named: all threads' groups are looked up again. */
SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(on_move)
{
	__u8 next = generation + 1;

	generation = next ? next : 1; /* 0: not known */
	return 0;
}

/* The slot of this CPU, where the current thread runs. */
static __always_inline struct slot *own_slot(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&slots, &cpu);
}

SEC("tp_btf/contention_begin")
int BPF_PROG(on_contention_begin, void *lock, unsigned int flags)
{
	struct task_struct *p = bpf_get_current_task_btf();
	struct slot *slot = own_slot();
	struct account *a;

	if (!slot)
		return 0;
	slot->spinner = 0;
	if (flags & LCB_F_SPIN) {
		slot->spinner = (__u64)p;
		slot->spun_for = (__u64)lock;
		return 0;
	}
	if (readable(p)->flags & PF_KTHREAD)
		return 0;
	a = account_for(p);
	if (!a)
		return 0;
	a->lock = (__u64)lock;
	a->lock_since = bpf_ktime_get_ns();
	a->lock_delay = more_of(p)->sched_info.run_delay;
	return 0;
}

/* Whoever spins stays on its CPU; else it has slept meanwhile, all but for waits for a CPU. */
SEC("tp_btf/contention_end")
int BPF_PROG(on_contention_end, void *lock)
{
	struct task_struct *p = bpf_get_current_task_btf();
	struct slot *slot = own_slot();
	__u64 now, took, since;
	struct account *a;
	struct cell *c;

	if (!slot)
		return 0;
	if (slot->spinner == (__u64)p && slot->spun_for == (__u64)lock) {
		slot->spinner = 0;
		return 0;
	}
	a = account_of(p);
	if (!a || a->lock != (__u64)lock)
		return 0;
	since = a->lock_since;
	a->lock = 0;
	if (a->reclaim_since)
		return 0;
	now = bpf_ktime_get_ns();
	took = now - since - (more_of(p)->sched_info.run_delay - a->lock_delay);
	c = cell_of(p);
	if (!c || (__s64)took <= 0)
		return 0;
	now += clock_offset;
	add_wait(c, REC_KERNEL_LOCK, now - took, now);
	count(a->waited, took);
	return 0;
}

static __always_inline int begin_reclaim(void)
{
	struct task_struct *p = bpf_get_current_task_btf();
	struct account *a;
	struct cell *c;

	if (readable(p)->flags & PF_KTHREAD)
		return 0;
	c = cell_of(p);
	a = account_for(p);
	if (!c || !a)
		return 0;
	count(c->reclaims, 1);
	a->reclaim_runtime = more_of(p)->se.sum_exec_runtime;
	a->reclaim_delay = more_of(p)->sched_info.run_delay;
	a->reclaim_since = bpf_ktime_get_ns();
	return 0;
}

/*
 * On a CPU and off, but for waits for one. The kernel bills time by its tick: of what
 * is taken off the time on CPUs for it only the sum over many is right.
 */
static __always_inline int end_reclaim(void)
{
	struct task_struct *p = bpf_get_current_task_btf();
	struct account *a = account_of(p);
	__u64 now, took, since;
	struct cell *c;

	if (!a || !a->reclaim_since)
		return 0;
	since = a->reclaim_since;
	a->reclaim_since = 0;
	now = bpf_ktime_get_ns();
	took = now - since - (more_of(p)->sched_info.run_delay - a->reclaim_delay);
	c = cell_of(p);
	if (!c || (__s64)took <= 0)
		return 0;
	now += clock_offset;
	add_wait(c, REC_RECLAIM, now - took, now);
	count(a->waited, took);
	count(a->done.runtime, more_of(p)->se.sum_exec_runtime - a->reclaim_runtime);
	return 0;
}

SEC("tp_btf/mm_vmscan_direct_reclaim_begin")
int BPF_PROG(on_direct_reclaim)
{
	return begin_reclaim();
}

SEC("tp_btf/mm_vmscan_direct_reclaim_end")
int BPF_PROG(on_direct_reclaim_end)
{
	return end_reclaim();
}

SEC("tp_btf/mm_vmscan_memcg_reclaim_begin")
int BPF_PROG(on_memcg_reclaim)
{
	return begin_reclaim();
}

SEC("tp_btf/mm_vmscan_memcg_reclaim_end")
int BPF_PROG(on_memcg_reclaim_end)
{
	return end_reclaim();
}

/* The waits that last, for whoever asks about a time in which they had begun. */
SEC("iter/task")
int open_waits(struct bpf_iter__task *ctx)
{
	struct task_struct *p = ctx->task;
	struct long_wait lasts = {};
	struct account *a;
	struct cell *c;
	__u64 now, queued;
	bool waits;

	if (!p || readable(p)->flags & PF_KTHREAD || readable(p)->on_cpu || readable(p)->exit_state)
		return 0;
	c = cell_of(p);
	if (!c)
		return 0;
	a = account_of(p);
	waits = a && a->waits;
	now = bpf_ktime_get_ns() + clock_offset;
	queued = more_of(p)->sched_info.last_queued;
	lasts.cgroup = c->cgroup;
	lasts.end = now;
	if (queued && queued < now) {
		lasts.state = REC_RUN_QUEUE;
		lasts.begin = queued;
		if (waits && a->wait.state == REC_RUN_QUEUE && throttled_part(p, &a->wait, now, false) > (now - queued) / 2)
			lasts.state = REC_THROTTLED;
	} else if (!queued && waits && a->wait.state != REC_RUN_QUEUE && a->wait.since < now) {
		lasts.state = a->wait.state;
		lasts.begin = a->wait.since;
	} else if (!queued && a && a->lock && readable(p)->__state & TASK_UNINTERRUPTIBLE) {
		lasts.state = REC_KERNEL_LOCK;
		lasts.begin = a->lock_since + clock_offset;
	}
	if (lasts.begin)
		bpf_seq_write(ctx->meta->seq, &lasts, sizeof(lasts));
	return 0;
}
