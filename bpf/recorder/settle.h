/* SPDX-License-Identifier: GPL-2.0 */
/* The reader's side, once a second: what the kernel has counted goes to the cells. */
#pragma once

volatile __u32 tick; /* user space counts its reads */

/* A thread that was active for less is not worth counting: 2% of a second. */
#define ACTIVE_NS 20000000

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
	quota = load(tg, cfs_bandwidth.quota);
	if (quota == NO_QUOTA && c->quota == NO_QUOTA) { /* the rest does not change */
		limited = false;
		barrier();
		if (load(tg, css.serial_nr) != c->serial) {
			c->group = 0;
			return 0;
		}
	} else {
		period = BPF_CORE_READ(tg, cfs_bandwidth.period);
		periods = BPF_CORE_READ(tg, cfs_bandwidth.nr_periods);
		throttled = BPF_CORE_READ(tg, cfs_bandwidth.nr_throttled);
		ns = BPF_CORE_READ(tg, cfs_bandwidth.throttled_time);
		barrier();
		if (load(tg, css.serial_nr) != c->serial) {
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
	c->limited = limited;
	return 0;
}

/* Reads what the kernel has counted for a live thread; its memory may be another's by then. */
static __always_inline bool read_counts(struct task_struct___recorder *r, __u32 pid, struct counts *n)
{
	n->runtime = load(r, se.sum_exec_runtime);
	n->run_delay = load(r, sched_info.run_delay);
	n->runs = load(r, sched_info.pcount);
	barrier();
	return load(r, pid) == pid;
}

/*
 * What a thread did since it was last read goes to the cell of the group that it is
 * in now; p is none when it has ended. A part that is negative takes back what was
 * counted too early.
 */
static __noinline int settle(struct account *a, struct task_struct *p, __u32 pid, __u64 now)
{
	__u64 ran, runs, waited, other = 0, throttled;
	struct cell *c = cell_at(a->cell);
	struct counts n;

	if (p) {
		struct task_group___recorder *tg = (void *)load(p, sched_task_group);

		if (!c || c->group != (__u64)tg) {
			a->cell = group_number(tg);
			c = cell_at(a->cell);
		}
		if (!read_counts((void *)p, pid, &n))
			return 0; /* it ends just now */
	} else {
		n = a->end;
		if (c && c->serial != a->serial)
			return 0;
	}
	if (!c)
		return 0;
	if (p && c->limited && !a->kernel) {
		struct mark *m = mark_at(pid);

		if (m && m->pid == pid)
			m->limited = true;
	}
	/* Of a wait that may be throttled nothing is known before it is over. */
	if (a->waits && a->wait.state == REC_RUN_QUEUE && n.run_delay > a->wait_delay)
		n.run_delay = a->wait_delay;
	ran = n.runtime - a->done.runtime;
	waited = n.run_delay - a->done.run_delay;
	runs = n.runs - a->done.runs;
	a->done.run_delay = n.run_delay;
	a->done.runs = n.runs;
	count(a->done.runtime, ran);
	count(c->ns[REC_ON_CPU], ran);
	count(c->switches, runs);
	if (a->kernel)
		return 0;
	if (a->waited)
		other = __sync_lock_test_and_set(&a->waited, 0);
	throttled = a->throttled;
	if (throttled) {
		if ((__s64)waited < (__s64)throttled)
			throttled = (__s64)waited > 0 ? waited : 0; /* the wait has just ended: the rest comes */
		count(a->throttled, -throttled);
		waited -= throttled;
		other += throttled;
	}
	add_wait(c, REC_RUN_QUEUE, now - waited, now);
	if ((__s64)(ran + waited + other) >= ACTIVE_NS)
		count(c->threads, 1);
	return 0;
}

static __always_inline void settle_account(struct account *a, __u32 pid, __u64 now)
{
	struct task_struct *p = (void *)a->task;

	settle(a, p, pid, now);
	if (!p)
		bpf_map_delete_elem(&accounts, &pid);
}

/* The next thread of the list. */
static long settle_listed(__u32 i, __u64 *now)
{
	__u32 at = list_tail % LISTED, *listed, pid;
	struct account *a;
	struct mark *m;

	if (list_tail == list_head)
		return 1;
	listed = bpf_map_lookup_elem(&list, &at);
	if (!listed)
		return 1;
	pid = *listed;
	list_tail++;
	m = mark_at(pid);
	if (m && m->pid == pid)
		m->listed = false;
	a = bpf_map_lookup_elem(&accounts, &pid);
	if (a)
		settle_account(a, pid, *now);
	return 0;
}

/*
 * The account of a thread that was seen on a CPU. It may have ended, and its memory be
 * anybody's: who has ended has an account, or had one. One thread's id may have become
 * another's, by execve(2) of a thread that does not lead its process.
 */
static __noinline int settle_task(struct task_struct *p, __u64 now)
{
	struct task_struct___recorder *r = (void *)p;
	struct account *a, first = {.task = (__u64)p};
	__u32 pid = load(r, pid);

	if (!pid)
		return 0;
	a = bpf_map_lookup_elem(&accounts, &pid);
	if (!a || (a->task && a->task != (__u64)p)) {
		if (load(r, __state) & TASK_DEAD || load(r, usage.refs.counter) <= 0)
			return 0;
		first.kernel = !!(load(r, flags) & PF_KTHREAD);
		if (a || load(r, start_time) < began)
			read_counts(r, pid, &first.done);
		bpf_map_update_elem(&accounts, &pid, &first, a ? BPF_ANY : BPF_NOEXIST);
		a = bpf_map_lookup_elem(&accounts, &pid);
	}
	if (a)
		settle_account(a, pid, now);
	else
		no_cell++; /* no room */
	return 0;
}

struct reading {
	struct slot *slot;
	__u64 now; /* the scheduler's clock */
	__u32 cpu;
};

/* The next thread that gave up this CPU. */
static long settle_logged(__u32 n, struct reading *r)
{
	struct slot *slot = r->slot;
	struct seen *before;
	struct block *block;
	__u64 task;
	__u32 i;

	if (slot->tail == slot->head)
		return 1;
	i = slot->tail % BLOCK;
	task = slot->block[i];
	barrier();
	if ((__s32)(slot->moved - slot->tail) > 0) { /* it may have been written over just now */
		block = block_of(r->cpu, slot->tail);
		if (!block)
			return 1;
		task = block->tasks[i];
	}
	i = (task >> 6 ^ task >> 18) % SEEN;
	before = bpf_map_lookup_elem(&seen, &i);
	if (before && (before->task != task || before->tick != tick)) {
		before->task = task;
		before->tick = tick;
		settle_task((void *)task, r->now);
	}
	slot->tail++;
	return 0;
}

/* Those that gave up a CPU, and the one that has it now. */
static long settle_cpu(void *map, __u32 *cpu, struct slot *slot, __u64 *now)
{
	struct reading r = {.slot = slot, .now = *now, .cpu = *cpu};

	bpf_loop(slot->head - slot->tail, settle_logged, &r, 0);
	if (slot->task)
		settle_task((void *)slot->task, r.now);
	return 0;
}

/* Run by user space before each of its reads. */
SEC("syscall")
int sample_groups(void *ctx)
{
	__u64 now = clock_of(bpf_get_current_task_btf());

	clock_offset = now - bpf_ktime_get_ns();
	bpf_for_each_map_elem(&slots, settle_cpu, &now, 0);
	bpf_loop(list_head - list_tail, settle_listed, &now, 0);
	bpf_for_each_map_elem(&cells, sample_group, 0, 0);
	settle_senders();
	if (watching && !throttled_threads) {
		watch(false);
		if (throttled_threads) /* since just now */
			watch(true);
	}
	return 0;
}
