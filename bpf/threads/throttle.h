/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Telling throttling apart from waiting for a CPU.
 *
 * A runnable thread waits on one cfs_rq: its group's queue on one CPU. The
 * kernel keeps for each queue how long it was throttled, by its own quota or by
 * one of its ancestors: throttled_clock_self_time plus what is open, since 6.6;
 * before, the same on the PELT clock (which runs slower than time on a CPU with
 * a reduced frequency, so it is scaled by the wait). The growth of that clock
 * during the wait is its throttled part, the rest is run queue. No other CPU's
 * throttling gets in, and no tracepoint is needed.
 *
 * Since 6.18 a thread is throttled by itself, when it returns to user space: a
 * wait can be throttled only if it began with task->throttled. While it lasts,
 * others of its group may run on in the kernel, and they wait for a CPU only.
 */
#pragma once

#include "walk.h"

#define MAX_CPUS 1024

/*
 * The clock minus CLOCK_MONOTONIC, for where the clock is stale: the most that was
 * seen, since between the two readings a hypervisor may take the CPU. The PELT clock
 * is each CPU's own; of a CPU that has not been seen, or is past the last, another's.
 */
volatile __s64 clock_offset;
volatile __s64 clock_offsets[MAX_CPUS];

static __always_inline __u64 queue_clock(struct cfs_rq *q)
{
	if (bpf_core_field_exists(q->throttled_clock_self))
		return q->rq->clock;
	return q->rq->clock_pelt - q->rq->lost_idle_time;
}

static __always_inline void note_offset(struct cfs_rq *q, __u64 now)
{
	__s64 offset = queue_clock(q) - now;

	if (!clock_offset || offset > clock_offset)
		clock_offset = offset;
	if (!bpf_core_field_exists(q->throttled_clock_self)) {
		__u32 cpu = bpf_get_smp_processor_id();

		if (cpu < MAX_CPUS && (!clock_offsets[cpu] || offset > clock_offsets[cpu]))
			clock_offsets[cpu] = offset;
	}
}

/* The clock of a queue on a CPU where nothing may have happened lately. */
static __always_inline __u64 stale_queue_clock(struct task_struct *p, __u64 now)
{
	if (!bpf_core_field_exists(p->se.cfs_rq->throttled_clock_self)) {
		__u32 cpu = p->thread_info.cpu;

		if (cpu < MAX_CPUS && clock_offsets[cpu])
			return now + clock_offsets[cpu];
	}
	return now + clock_offset;
}

/* How long q has been throttled since it was made, at clock. */
static __always_inline __u64 queue_throttled(struct cfs_rq *q, __u64 clock)
{
	__u64 total = 0, open = 0;

	if (bpf_core_field_exists(q->throttled_clock_self)) {
		total = q->throttled_clock_self_time;
		open = q->throttled_clock_self;
	} else if (bpf_core_field_exists(q->throttled_clock_pelt)) {
		total = q->throttled_clock_pelt_time;
		open = q->throttle_count > 0 ? q->throttled_clock_pelt : 0;
	}
	return open && clock > open ? total + clock - open : total;
}

/* The same for a queue that the thread has left. It may be gone: read safely. */
static __always_inline __u64 left_queue_throttled(struct cfs_rq *q)
{
	if (bpf_core_field_exists(q->throttled_clock_self_time))
		return BPF_CORE_READ(q, throttled_clock_self_time);
	if (bpf_core_field_exists(q->throttled_clock_pelt_time))
		return BPF_CORE_READ(q, throttled_clock_pelt_time);
	return 0;
}

/*
 * A runnable wait begins. The kernel has just updated the queue's clock when it
 * switches or wakes (fresh); otherwise the clock may be as old as the last event
 * on its CPU.
 */
static __always_inline void begin_wait(struct task_struct *p, struct thread_state *s, __u64 now, bool fresh)
{
	struct cfs_rq *q = readable(p)->se.cfs_rq;

	s->state = RUN_QUEUE;
	s->since = now;
	s->may_throttle = p->prio >= MAX_RT_PRIO;
	if (bpf_core_field_exists(p->throttled) && !p->throttled)
		s->may_throttle = 0;
	if (!s->may_throttle)
		return;
	s->cfs_rq = (__u64)q;
	s->clock0 = fresh ? queue_clock(q) : stale_queue_clock(p, now);
	s->throttled0 = queue_throttled(q, s->clock0);
}

/* The throttled part of a wait that lasts until now. */
static __always_inline __u64 throttled_part(struct task_struct *p, struct thread_state *s, __u64 now, bool fresh)
{
	struct cfs_rq *q = readable(p)->se.cfs_rq;
	__u64 wait = now - s->since, clock, grown;

	if (!s->may_throttle || now <= s->since)
		return 0;
	if ((__u64)q != s->cfs_rq) {
		/* Moved to another CPU since, which only happens once it is not throttled any more. */
		grown = left_queue_throttled((struct cfs_rq *)s->cfs_rq) - s->throttled0;
	} else {
		clock = fresh ? queue_clock(q) : s->clock0 + wait;
		grown = queue_throttled(q, clock) - s->throttled0;
		if (!bpf_core_field_exists(q->throttled_clock_self) && (__s64)grown > 0) {
			__u64 passed = (clock - s->clock0) >> 10;

			if (passed && wait < 1ull << 36) /* the product fits */
				grown = (grown >> 10) * wait / passed;
		}
	}
	if ((__s64)grown < 0)
		return 0;
	return grown > wait ? wait : grown;
}
