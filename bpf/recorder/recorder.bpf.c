//go:build ignore

// SPDX-License-Identifier: GPL-2.0
/*
 * The flight recorder: for every task group of the node, how long its threads
 * were in each active state of the ledger, and some counters. It runs all the
 * time, so it must cost next to nothing: one program on sched_switch, nothing on
 * wakeups where the kernel allows, nothing to user space an event.
 *
 * What costs are lines and pages of memory that nobody has used for a while. So
 * nothing is looked up when a thread gets a CPU; all is done when it gives it up,
 * with what the kernel has just used itself and one place of its own (waits.h),
 * where short times add up. Once a second they go to the group's cell.
 *
 * Times are on the scheduler's clock (rq->clock), which is at hand. User space
 * turns it into CLOCK_MONOTONIC with cpu_slot.offset.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "cells.h"
#include "waits.h"
#include "throttle.h"

char LICENSE[] SEC("license") = "GPL";

volatile __u32 tick; /* user space counts its reads */

/* Who runs on a CPU, for the time that is in no cell yet. */
struct cpu_slot {
	__u64 since;   /* its time until then is counted; 0: not known yet */
	__s64 offset;  /* CLOCK_MONOTONIC minus the scheduler's clock, once a tick */
	__u64 task;    /* 0: idle */
	__u64 arrived; /* when it got the CPU */
	__u64 queued;  /* when it was last queued for it; 0: it was not */
	__u32 labels;  /* LABEL_* of the thread: with LABEL_RECLAIM its time is REC_RECLAIM */
	__u32 tick;
	__u64 sampled; /* arrived of the thread whose cell the next is */
	__u32 cell;    /* by sample_slot; 0: none */
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* user space sets it to the CPUs */
	__type(key, __u32);
	__type(value, struct cpu_slot);
} cpu_slots SEC(".maps");

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

/* A thread that was active for less is not worth counting: 2% of a second. */
#define ACTIVE_US 20000
#define COUNTED 0xffff

#define PF_MEMALLOC 0x00000800 /* include/linux/sched.h: it is set while a thread reclaims */

static __always_inline __u64 run_delay_of(struct task_struct *p)
{
	return ((struct task_struct___recorder *)p)->sched_info.run_delay;
}

static __always_inline __u64 last_queued_of(struct task_struct *p)
{
	return ((struct task_struct___recorder *)p)->sched_info.last_queued;
}

/* The kernel's own mark of a thread that waits for memory, for its pressure stall information. */
static __always_inline bool in_memstall(struct task_struct *p)
{
	struct task_struct___recorder *r = (void *)p;

	return bpf_core_field_exists(r->in_memstall) && BPF_CORE_READ_BITFIELD(r, in_memstall);
}

static __noinline void remember_wait(struct task_struct *p, struct waiter *w, __u64 now)
{
	struct thread_state *s;

	s = bpf_task_storage_get(&queued_threads, p, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!s)
		return;
	begin_wait(p, s, now, true);
	w->may_throttle = s->may_throttle;
}

/* The throttled part of a wait that may have one. */
static __always_inline __u64 throttled_of(struct task_struct *p, __u64 now, __u64 wait, bool fresh)
{
	struct thread_state *s = bpf_task_storage_get(&queued_threads, p, 0, 0);
	__u64 throttled = s ? throttled_part(p, s, now, fresh) : 0;

	return throttled > wait ? wait : throttled;
}

/*
 * The same when p gives up the CPU that it waited for. Its queue was not throttled
 * meanwhile, it ran; that on the PELT clock is scaled by the time until now.
 */
static __always_inline __u64 throttled_before(struct task_struct *p, __u64 arrived, __u64 now, __u64 wait)
{
	bool pelt = !bpf_core_field_exists(p->se.cfs_rq->throttled_clock_self);

	return throttled_of(p, pelt ? now : arrived, wait, pelt);
}

/* When it has moved, or a group has come or its quota has: whose cell its time is. */
static __noinline void find_cell(struct waiter *w, struct task_struct *p)
{
	__u16 now = generation;
	__u32 number;
	struct cell *c = cell_of(p, &number);

	flush_place(w);
	w->generation = now;
	w->group = (__u64)p->sched_task_group;
	w->cell = number;
	w->limited = c && c->limited;
}

/* A wait that is over, other than for a CPU, and what of that one was throttled. */
static __always_inline __u64 end_wait(struct cell *c, struct waiter *w, struct task_struct *p, __u64 arrived, __u64 now, __u64 wait)
{
	__u64 woken = arrived - wait, throttled = 0;

	if (w->blocked) {
		add_wait(c, w->blocked, w->blocked_since, woken);
		w->blocked = 0;
	}
	if (w->may_throttle) {
		throttled = throttled_before(p, arrived, now, wait);
		add_wait(c, REC_THROTTLED, woken, woken + throttled);
		w->may_throttle = 0;
	}
	return throttled;
}

/* Counts a thread once a second when it was active for ACTIVE_US in it. */
static __always_inline void count_active(struct waiter *w, __u64 us)
{
	struct cell *c;

	if (w->tick != (__u16)tick) {
		w->tick = tick;
		w->active = 0;
	}
	if (w->active == COUNTED)
		return;
	if (w->active + us < ACTIVE_US) {
		w->active += us;
		return;
	}
	w->active = COUNTED;
	c = cell_at(w->cell);
	if (c)
		count(c->threads, 1);
}

/* What does it wait for, now that it has no CPU? */
static __always_inline void begin_next(struct task_struct *prev, struct waiter *w, __u32 labels, bool runnable, __u64 now)
{
	bool iowait, memstall;

	if (runnable) {
		/* Only what may be throttled is remembered: see throttle.h. */
		if (w->limited && (!bpf_core_field_exists(prev->throttled) || prev->throttled))
			remember_wait(prev, w, now);
		return;
	}
	iowait = BPF_CORE_READ_BITFIELD(prev, in_iowait);
	memstall = in_memstall(prev);
	if (!iowait && !memstall && !labels)
		return;
	w->blocked_since = now;
	w->blocked = memstall || labels & LABEL_RECLAIM ? REC_RECLAIM : iowait ? REC_IO : REC_KERNEL_LOCK;
}

static __always_inline void add_run(struct cell *c, __u32 labels, __u64 ns)
{
	count(c->ns[labels & LABEL_RECLAIM ? REC_RECLAIM : REC_ON_CPU], ns);
}

/* The place of a thread that it has not had, or not lately: what was before is not known. */
static __noinline void take_place(struct waiter *w, struct task_struct *p, struct cpu_slot *slot)
{
	__u64 arrived = slot->arrived, queued = slot->queued;

	flush_place(w);
	__builtin_memset(w, 0, sizeof(*w));
	w->task = (__u64)p;
	w->run_delay = run_delay_of(p);
	if (queued && queued < arrived)
		w->run_delay -= arrived - queued;
}

/* What is not short, or not only a run and a wait for the CPU, goes to the cell at once. */
static __noinline void add_long(struct waiter *w, struct task_struct *p, struct cpu_slot *slot, __u64 wait, __u64 now)
{
	__u64 arrived = slot->arrived, throttled;
	struct cell *c = cell_at(w->cell);

	if (!c)
		return;
	throttled = end_wait(c, w, p, arrived, now, wait);
	add_wait(c, REC_RUN_QUEUE, arrived - wait + throttled, arrived);
	if (slot->since < now)
		add_run(c, slot->labels, now - slot->since);
	count(c->switches, 1);
}

/* It ends: another thread may get its address. */
static __noinline void forget(struct waiter *w)
{
	flush_place(w);
	w->task = 0;
}

/*
 * A thread of user space gives up its CPU: that it waited for it, that it ran, and
 * what comes next. What seldom happens is in functions of its own: code that is
 * not run is not to be between what is.
 */
static __always_inline void leave(struct cpu_slot *slot, struct task_struct *p, bool runnable, __u64 ran, __u64 now)
{
	__u64 delay = run_delay_of(p), arrived = slot->arrived, wait;
	__u32 labels = slot->labels, state = p->__state;
	struct waiter *w = place_of(p);

	if (!w)
		return;
	if (w->task != (__u64)p)
		take_place(w, p, slot);
	if (w->group != (__u64)p->sched_task_group || w->generation != (__u16)generation)
		find_cell(w, p);
	if (!w->cell)
		no_cell++;
	wait = delay - w->run_delay;
	if ((__s64)wait < 0)
		wait = 0;
	w->run_delay = delay;
	count_active(w, (now - (w->blocked ? w->blocked_since : arrived - wait)) / 1024);
	if (!(labels & LABEL_UNLOCKED))
		labels |= w->labels & LABEL_LOCK;
	labels &= LABEL_LOCK | LABEL_RECLAIM;
	w->labels = labels;
	if (w->blocked || w->may_throttle || labels || wait + ran >= SHORT_NS)
		add_long(w, p, slot, wait, now);
	else
		add_short(w, place_number(p), ran, wait);
	if (state & TASK_DEAD)
		forget(w);
	else
		begin_next(p, w, labels, runnable, now);
}

static __noinline void leave_kernel(struct cpu_slot *slot, struct task_struct *p, __u64 ran)
{
	__u32 number;
	struct cell *c = cell_of(p, &number);

	if (c) {
		add_run(c, slot->labels, ran);
		count(c->switches, 1);
	}
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	__u64 now = prev->se.cfs_rq->rq->clock;
	__u32 cpu = bpf_get_smp_processor_id(), labels = 0;
	struct cpu_slot *slot = bpf_map_lookup_elem(&cpu_slots, &cpu);
	struct waiter *w;

	if (!slot)
		return 0;
	if (slot->task == (__u64)prev) {
		__u64 ran = slot->since < now ? now - slot->since : 0;

		if (prev->flags & PF_KTHREAD)
			leave_kernel(slot, prev, ran);
		else
			leave(slot, prev, preempt || !prev->__state, ran, now);
		if (slot->tick != tick) {
			slot->tick = tick;
			slot->offset = bpf_ktime_get_ns() - now;
		}
	}
	slot->since = now;
	slot->arrived = now;
	slot->task = 0;
	if (next->pid) {
		slot->task = (__u64)next;
		slot->queued = last_queued_of(next);
		w = place_of(next);
		if (w) {
			w->near = 1; /* brings the line here, and does not wait for it */
			if (next->flags & PF_MEMALLOC && w->task == (__u64)next)
				labels = w->labels & LABEL_RECLAIM;
		}
	}
	slot->labels = labels;
	return 0;
}

/*
 * Before 6.18 a thread that wakes in a group whose quota is used up waits in a
 * throttled queue: where the wait begins must be seen. Since then only a thread
 * that returns to user space is throttled, and this is not attached.
 */
static __always_inline void woken(struct task_struct *p)
{
	struct waiter *w;

	if (p->flags & PF_KTHREAD)
		return;
	w = known(p);
	if (w && w->limited)
		remember_wait(p, w, p->se.cfs_rq->rq->clock);
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

/* The slot of this CPU, where the current thread runs. */
static __always_inline struct cpu_slot *own_slot(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&cpu_slots, &cpu);
}

SEC("tp_btf/contention_begin")
int BPF_PROG(on_contention_begin, void *lock, unsigned int flags)
{
	struct cpu_slot *slot;

	if (flags & LCB_F_SPIN)
		return 0;
	slot = own_slot();
	if (slot)
		slot->labels |= LABEL_LOCK;
	return 0;
}

SEC("tp_btf/contention_end")
int BPF_PROG(on_contention_end)
{
	struct cpu_slot *slot = own_slot();

	if (slot)
		slot->labels = (slot->labels & ~LABEL_LOCK) | LABEL_UNLOCKED;
	return 0;
}

static __always_inline struct cell *current_cell(void)
{
	struct task_struct *p = bpf_get_current_task_btf();
	__u32 number;

	return p->flags & PF_KTHREAD ? 0 : cell_of(p, &number);
}

static __always_inline void set_reclaim(bool begins)
{
	struct cpu_slot *slot = own_slot();
	struct cell *c = current_cell();
	__u64 now;

	if (!c || !slot)
		return;
	now = bpf_ktime_get_ns() - slot->offset;
	if (slot->since && slot->since < now) {
		add_run(c, slot->labels, now - slot->since);
		slot->since = now;
	}
	if (begins) {
		count(c->reclaims, 1);
		slot->labels |= LABEL_RECLAIM;
	} else {
		slot->labels &= ~LABEL_RECLAIM;
	}
}

SEC("tp_btf/mm_vmscan_direct_reclaim_begin")
int BPF_PROG(on_direct_reclaim)
{
	set_reclaim(true);
	return 0;
}

SEC("tp_btf/mm_vmscan_direct_reclaim_end")
int BPF_PROG(on_direct_reclaim_end)
{
	set_reclaim(false);
	return 0;
}

SEC("tp_btf/mm_vmscan_memcg_reclaim_begin")
int BPF_PROG(on_memcg_reclaim)
{
	set_reclaim(true);
	return 0;
}

SEC("tp_btf/mm_vmscan_memcg_reclaim_end")
int BPF_PROG(on_memcg_reclaim_end)
{
	set_reclaim(false);
	return 0;
}

/*
 * A request, from when its first bio has one until it is complete. It begins in the
 * context of who asks; what kernel threads do, the journal's among them, is nobody's.
 */
struct io {
	__u64 begin;
	__u64 serial; /* of the group that has the cell; 0: it is a kernel thread's */
	__u32 cell;
	__u32 pad;
};

enum { BPF_MAP_TYPE_LRU_HASH = 9 };

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096); /* a bio that was merged behind another does not come back */
	__type(key, __u64);        /* struct bio * */
	__type(value, struct io);
} ios SEC(".maps");

struct bio;

volatile __u64 kernel_requests;
volatile __u64 kernel_request_ns;

SEC("tp_btf/block_getrq")
int BPF_PROG(on_block_request, struct bio *bio)
{
	struct task_struct *p = bpf_get_current_task_btf();
	struct io io = {.begin = bpf_ktime_get_ns()};
	__u64 key = (__u64)bio;

	if (!(p->flags & PF_KTHREAD)) {
		struct cell *c = cell_of(p, &io.cell);

		if (!c)
			return 0;
		io.serial = c->serial;
	}
	bpf_map_update_elem(&ios, &key, &io, BPF_ANY);
	return 0;
}

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct request {
	struct bio *bio;
};

#pragma clang attribute pop

SEC("tp_btf/block_rq_complete")
int BPF_PROG(on_block_done, struct request *rq)
{
	__u64 key = (__u64)rq->bio, now = bpf_ktime_get_ns(), ns;
	struct io *io = bpf_map_lookup_elem(&ios, &key);
	struct cell *c;

	if (!io)
		return 0;
	ns = now > io->begin ? now - io->begin : 0;
	c = cell_at(io->cell);
	if (!io->serial) {
		count(kernel_requests, 1);
		count(kernel_request_ns, ns);
	} else if (c && c->serial == io->serial) {
		count(c->requests, 1);
		count(c->request_ns, ns);
	}
	bpf_map_delete_elem(&ios, &key);
	return 0;
}

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

enum cgroup_subsys_id___recorder { cpu_cgrp_id = 0 };

struct cgroup___recorder {
	struct cgroup_subsys_state___recorder *subsys[CGROUP_SUBSYS_COUNT];
};

struct sock_cgroup_data {
	struct cgroup *cgroup;
};

struct sock {
	struct sock_cgroup_data sk_cgrp_data;
};

#pragma clang attribute pop

/*
 * A segment is sent again by a timer or by an acknowledgment, in nobody's
 * context; the socket knows its cgroup, of v2. Where the cpu controller is not
 * on that hierarchy nobody knows.
 */
SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(on_retransmit, struct sock *sk)
{
	struct cgroup *cgrp = BPF_CORE_READ(sk, sk_cgrp_data.cgroup);
	__u32 cpu = bpf_core_enum_value(enum cgroup_subsys_id___recorder, cpu_cgrp_id);
	__u32 offset = bpf_core_field_offset(struct cgroup___recorder, subsys) + 8 * cpu;

	for (int i = 0; i < MAX_DEPTH && cgrp; i++) {
		struct cgroup_subsys_state___recorder *css = 0;
		struct cell *c;

		bpf_probe_read_kernel(&css, sizeof(css), (void *)cgrp + offset);
		if (css) {
			c = cell_at(BPF_CORE_READ(css, id));
			if (c && c->serial == BPF_CORE_READ(css, serial_nr))
				count(c->retransmits, 1);
			break;
		}
		cgrp = BPF_CORE_READ(cgrp, self.parent, cgroup);
	}
	return 0;
}

/*
 * The OOM killer's victim ends. Its tracepoint, mark_victim, has another form in
 * each kernel and knows only a number in some; what it marks stays until here.
 */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *p)
{
	struct victim *v;
	struct cell *c;
	__u32 number, nth, i;

	if (p->pid != p->tgid || !((struct task_struct___recorder *)p)->signal->oom_mm)
		return 0;
	c = cell_of(p, &number);
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

/*
 * Reads the quotas of one group. It may be gone, and its memory somebody else's:
 * the serial number, which is never given twice, is compared after what was read.
 */
static long sample_group(void *map, __u32 *number, struct cell *c, void *ctx)
{
	struct task_group___recorder *tg = (void *)c->group;
	__u64 quota, period, periods, throttled, ns;
	struct cell *above;
	bool limited;

	if (!tg)
		return *number > highest;
	if (!bpf_core_field_exists(tg->cfs_bandwidth))
		return 0;
	quota = BPF_CORE_READ(tg, cfs_bandwidth.quota);
	if (quota == NO_QUOTA && c->quota == NO_QUOTA) { /* the rest does not change */
		limited = false;
		if (BPF_CORE_READ(tg, css.serial_nr) != c->serial) {
			c->group = 0;
			return 0;
		}
	} else {
		period = BPF_CORE_READ(tg, cfs_bandwidth.period);
		periods = BPF_CORE_READ(tg, cfs_bandwidth.nr_periods);
		throttled = BPF_CORE_READ(tg, cfs_bandwidth.nr_throttled);
		ns = BPF_CORE_READ(tg, cfs_bandwidth.throttled_time);
		if (BPF_CORE_READ(tg, css.serial_nr) != c->serial) {
			c->group = 0;
			return 0;
		}
		limited = quota != NO_QUOTA;
		c->quota = quota;
		c->period = period;
		c->periods = periods;
		c->throttled_periods = throttled;
		c->throttled_ns = ns;
	}
	above = cell_at(c->above); /* of which this is known, of this second or the last */
	limited = limited || (c->above && above && above->limited);
	if (c->limited != limited) {
		c->limited = limited;
		generation++;
	}
	return 0;
}

/* The cell of the thread that runs on a CPU. While it does, its task and its group are there. */
static long sample_slot(void *map, __u32 *cpu, struct cpu_slot *slot, void *ctx)
{
	struct task_struct *p = (void *)slot->task;
	__u64 arrived = slot->arrived, serial;
	struct task_group___recorder *tg;
	struct cell *c;
	__u32 id;

	slot->cell = 0;
	if (!p)
		return 0;
	tg = (void *)BPF_CORE_READ(p, sched_task_group);
	id = BPF_CORE_READ(tg, css.id);
	serial = BPF_CORE_READ(tg, css.serial_nr);
	c = cell_at(id ?: ROOT_CELL);
	if (!c || slot->task != (__u64)p || slot->arrived != arrived)
		return 0;
	if (id && c->serial != serial) {
		claim(c, tg, id);
		claim_parents(tg);
	}
	slot->sampled = arrived;
	slot->cell = id ?: ROOT_CELL;
	return 0;
}

static long flush_page(void *map, __u32 *page, __u64 *dirty, void *ctx)
{
	if (!*dirty || !__sync_lock_test_and_set(dirty, 0))
		return 0;
	for (__u32 i = 0; i < PLACES_A_PAGE; i++) {
		__u32 number = *page * PLACES_A_PAGE + i;
		struct waiter *w = bpf_map_lookup_elem(&waiters, &number);

		if (w && w->short_runs)
			flush_place(w);
	}
	return 0;
}

/* Run by user space before each of its reads. */
SEC("syscall")
int sample_groups(void *ctx)
{
	bpf_for_each_map_elem(&cpu_slots, sample_slot, 0, 0);
	bpf_for_each_map_elem(&dirty_pages, flush_page, 0, 0);
	bpf_for_each_map_elem(&cells, sample_group, 0, 0);
	return 0;
}

/* The waits that last, for whoever asks about a time in which they had begun. */
SEC("iter/task")
int open_waits(struct bpf_iter__task *ctx)
{
	struct task_struct *p = ctx->task;
	struct long_wait lasts = {};
	struct waiter *w;
	struct cell *c;
	__u64 now, queued;
	__u32 number;

	if (!p || p->flags & PF_KTHREAD || p->on_cpu || p->exit_state)
		return 0;
	c = cell_of(p, &number);
	if (!c)
		return 0;
	w = known(p);
	now = bpf_ktime_get_ns() + clock_offset; /* which user space sets before */
	queued = last_queued_of(p);
	lasts.cgroup = c->cgroup;
	lasts.end = now;
	if (queued && queued < now) {
		lasts.state = REC_RUN_QUEUE;
		lasts.begin = queued;
		if (w && w->may_throttle && throttled_of(p, now, now - queued, false) > (now - queued) / 2)
			lasts.state = REC_THROTTLED;
	} else if (!queued && w && w->blocked && w->blocked_since < now) {
		lasts.state = w->blocked;
		lasts.begin = w->blocked_since;
	}
	if (lasts.begin)
		bpf_seq_write(ctx->meta->seq, &lasts, sizeof(lasts));
	return 0;
}
