//go:build ignore

// SPDX-License-Identifier: GPL-2.0
/*
 * The thread-state ledger: every nanosecond of every thread of the target is in
 * exactly one state. BTF tracepoints and task iterators only, so it also runs on
 * locked-down nodes.
 *
 * A window: user space fills the target, attaches, runs begin_threads (which
 * starts a ledger for every living thread of the target), sets the window's
 * start and end, waits, and runs end_threads, which closes the open states at
 * the window's end and writes one record a thread. Threads that end inside the
 * window write their record themselves.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "target.h"
#include "ledger.h"
#include "throttle.h"
#include "holders.h"

char LICENSE[] SEC("license") = "GPL";

enum kind { LIVING, ENDED, RUNNING }; /* RUNNING: who is on a CPU; tid is the CPU */

/* One thread, as user space reads it. */
struct record {
	__u64 start; /* of the thread's life, CLOCK_MONOTONIC */
	__u64 cgroup;
	__u64 wall; /* its life inside the window, from its start time and not from ns */
	__u64 ns[NUM_STATES];
	__u64 behind[NUM_HOLDERS];
	__u32 tid;
	__u32 tgid;
	__u32 kind;
	__u32 pad;
	char comm[16];
};

struct group_total {
	__u64 threads;
	__u64 wall;
	__u64 ns[NUM_STATES];
	__u64 behind[NUM_HOLDERS];
};

/* Threads that ended, in order; those past the end go into ended_totals instead. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct record);
} ended_threads SEC(".maps");

volatile __u32 ended_count;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64); /* kernfs id of the task group's cgroup */
	__type(value, struct group_total);
} ended_totals SEC(".maps");

volatile __u32 moved_in; /* living threads were moved into the target: look at all */

static __always_inline void add(struct thread_state *s, __u32 state, __u64 ns)
{
	if (state < NUM_STATES)
		s->ns[state] += ns;
}

/*
 * Ends the current state at the moment. The throttled part of a wait comes first.
 * Another CPU's clock may have been some nanoseconds ahead of this one's.
 */
static __always_inline void close_state(struct task_struct *p, struct thread_state *s, const struct moment *m, bool fresh)
{
	__u64 since = s->since, now = m->now;

	if (now <= since)
		return;
	if (s->state == ON_CPU) {
		add(s, s->reclaims ? RECLAIM : ON_CPU, span(m, since, now));
	} else if (s->state == RUN_QUEUE) {
		__u64 until = since + throttled_part(p, s, now, fresh);

		s->ns[THROTTLED] += span(m, since, until);
		s->ns[RUN_QUEUE] += span(m, until, now);
		end_behind(s, span(m, until, now), m);
	} else {
		add(s, s->state, span(m, since, now));
	}
	s->since = now;
}

static __always_inline void fill_record(struct task_struct *p, struct thread_state *s, struct record *r, const struct moment *m)
{
	__u64 from = p->start_time;

	r->start = from;
	if (s->joined > from)
		from = s->joined;
	r->wall = span(m, from, m->now);
	r->cgroup = task_group_id(p);
	__builtin_memcpy(r->ns, s->ns, sizeof(r->ns));
	__builtin_memcpy(r->behind, s->behind, sizeof(r->behind));
	r->tid = p->pid;
	r->tgid = p->tgid;
	bpf_core_read(r->comm, sizeof(r->comm), &p->comm);
}

static __always_inline void add_ended(struct record *r)
{
	struct group_total first = {}, *t = lookup_or_add(&ended_totals, &r->cgroup, &first);

	if (!t)
		return;
	__sync_fetch_and_add(&t->threads, 1);
	__sync_fetch_and_add(&t->wall, r->wall);
	for (int i = 0; i < NUM_STATES; i++)
		__sync_fetch_and_add(&t->ns[i], r->ns[i]);
	for (int i = 0; i < NUM_HOLDERS; i++)
		__sync_fetch_and_add(&t->behind[i], r->behind[i]);
}

/* The thread's last switch: nothing follows. */
static __always_inline void end_thread(struct task_struct *p, struct thread_state *s, const struct moment *m)
{
	struct record r = {.kind = ENDED}, *slot;
	__u32 i;

	if (s->done)
		return;
	s->done = 1;
	if (m->now < m->start)
		return;
	fill_record(p, s, &r, m);
	if (m->now > m->end)
		r.kind = LIVING;
	i = __sync_fetch_and_add(&ended_count, 1);
	slot = bpf_map_lookup_elem(&ended_threads, &i);
	if (slot)
		*slot = r;
	else
		add_ended(&r);
}

static __always_inline void wait_for_cpu(struct task_struct *p, struct thread_state *s, const struct moment *m, bool fresh)
{
	begin_wait(p, s, m->now, fresh);
	begin_behind(p, s, m);
}

/* Starts the ledger of a thread that lives already, in the state it is in. */
static __always_inline struct thread_state *join(struct task_struct *p, const struct moment *m)
{
	struct thread_state *s = track(p);

	if (!s || s->since) /* an event came first, and knows better */
		return s;
	s->since = m->now;
	if (p->on_cpu) {
		s->state = ON_CPU;
	} else {
		bool delayed = bpf_core_field_exists(p->se.sched_delayed) && p->se.sched_delayed;

		if (!p->__state || (p->on_rq && !delayed))
			wait_for_cpu(p, s, m, false);
		else
			s->state = blocked_state(p, s);
	}
	return s;
}

static __always_inline struct thread_state *tracked_or_moved(struct task_struct *p, const struct moment *m)
{
	struct thread_state *s = tracked(p);

	if (!s && moved_in && in_target(p)) {
		s = join(p, m);
		if (s)
			s->joined = m->now;
	}
	return s;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	__u64 now = bpf_ktime_get_ns();
	struct moment m = at(now);
	struct thread_state *s, *n;

	note_offset(readable(prev)->se.cfs_rq, now);
	s = tracked_or_moved(prev, &m);
	n = tracked_or_moved(next, &m);
	count_holder(prev, holder_of(next, n), &m);
	if (s) {
		__u32 state = prev->__state;

		close_state(prev, s, &m, true);
		if (state & TASK_DEAD)
			end_thread(prev, s, &m);
		else if (preempt || !state) /* a signal that stops a wait also leaves state 0 */
			wait_for_cpu(prev, s, &m, true);
		else
			s->state = blocked_state(prev, s);
	}
	if (n) {
		close_state(next, n, &m, true);
		n->state = ON_CPU;
	}
	return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(on_wakeup, struct task_struct *p)
{
	struct thread_state *s = tracked(p);

	if (s && s->state >= IO) {
		struct moment m = at(bpf_ktime_get_ns());

		close_state(p, s, &m, true);
		wait_for_cpu(p, s, &m, true);
	}
	return 0;
}

/* A thread is born. From its start time until now its parent was still making it. */
SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(on_wakeup_new, struct task_struct *p)
{
	struct thread_state *s;
	struct moment m;

	if (!in_target(p))
		return 0;
	s = track(p);
	if (!s)
		return 0;
	m = at(bpf_ktime_get_ns());
	s->state = SLEEP;
	s->since = p->start_time;
	close_state(p, s, &m, true);
	wait_for_cpu(p, s, &m, true);
	return 0;
}

SEC("tp_btf/sched_migrate_task")
int BPF_PROG(on_migrate, struct task_struct *p, int cpu)
{
	struct thread_state *s = tracked(p);

	if (s && s->state == RUN_QUEUE) {
		struct moment m = at(bpf_ktime_get_ns());

		move_behind(s, cpu, &m);
	}
	return 0;
}

/* Spinning is on-CPU time; only locks that can block matter. */
SEC("tp_btf/contention_begin")
int BPF_PROG(on_contention_begin, void *lock, unsigned int flags)
{
	struct thread_state *s;

	if (flags & LCB_F_SPIN)
		return 0;
	s = tracked(bpf_get_current_task_btf());
	if (s)
		s->lock = (__u64)lock;
	return 0;
}

SEC("tp_btf/contention_end")
int BPF_PROG(on_contention_end, void *lock)
{
	struct thread_state *s = tracked(bpf_get_current_task_btf());

	if (s && s->lock == (__u64)lock)
		s->lock = 0;
	return 0;
}

/* The thread takes memory back, from everyone or from its cgroup, before it gets any. */
static __always_inline void reclaim(__u32 begins)
{
	struct task_struct *p = bpf_get_current_task_btf();
	struct thread_state *s = tracked(p);
	struct moment m;

	if (!s || s->reclaims == begins)
		return;
	m = at(bpf_ktime_get_ns());
	close_state(p, s, &m, true);
	s->reclaims = begins;
}

SEC("tp_btf/mm_vmscan_direct_reclaim_begin")
int BPF_PROG(on_direct_reclaim_begin)
{
	reclaim(1);
	return 0;
}

SEC("tp_btf/mm_vmscan_direct_reclaim_end")
int BPF_PROG(on_direct_reclaim_end)
{
	reclaim(0);
	return 0;
}

SEC("tp_btf/mm_vmscan_memcg_reclaim_begin")
int BPF_PROG(on_memcg_reclaim_begin)
{
	reclaim(1);
	return 0;
}

SEC("tp_btf/mm_vmscan_memcg_reclaim_end")
int BPF_PROG(on_memcg_reclaim_end)
{
	reclaim(0);
	return 0;
}

SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(on_cgroup_attach, struct cgroup *to, const char *path, struct task_struct *p)
{
	struct moment m;

	if (!target_has_cgroup(to))
		return 0;
	m = at(bpf_ktime_get_ns());
	moved_in = 1; /* the other threads of its process come one by one */
	if (!tracked(p))
		tracked_or_moved(p, &m);
	return 0;
}

SEC("iter/task")
int begin_threads(struct bpf_iter__task *ctx)
{
	struct task_struct *p = ctx->task;

	struct moment m;

	if (!p || p->exit_state)
		return 0;
	kmend_tgid = bpf_get_current_pid_tgid() >> 32;
	if (!tracked(p) && in_target(p)) {
		m = at(bpf_ktime_get_ns());
		join(p, &m);
	}
	if (p->on_cpu)
		note_running(p, tracked(p));
	return 0;
}

static __always_inline void write_running(struct bpf_iter__task *ctx, struct task_struct *p)
{
	struct record r = {.kind = RUNNING};

	r.tid = p->thread_info.cpu;
	r.tgid = p->tgid;
	r.cgroup = task_group_id(p);
	bpf_seq_write(ctx->meta->seq, &r, sizeof(r));
}

/*
 * Closes a copy of the thread's ledger at the moment. The thread may be switching on
 * another CPU meanwhile; a copy that does not add up was torn.
 */
static __always_inline bool close_copy(struct task_struct *p, struct thread_state *s, struct record *r, const struct moment *m)
{
	struct thread_state copy = *s;
	__u64 sum = 0;

	close_state(p, &copy, m, false);
	fill_record(p, &copy, r, m);
	for (int i = 0; i < NUM_STATES; i++)
		sum += r->ns[i];
	return sum == r->wall;
}

/* May be called twice for a thread, when the reader's buffer is full. */
SEC("iter/task")
int end_threads(struct bpf_iter__task *ctx)
{
	struct task_struct *p = ctx->task;
	struct record r = {.kind = LIVING};
	struct thread_state *s;
	struct moment m;

	if (!p)
		return 0;
	if (p->on_cpu)
		write_running(ctx, p);
	s = tracked(p);
	if (!s || s->done)
		return 0;
	m = at(bpf_ktime_get_ns());
	if (!close_copy(p, s, &r, &m) && !close_copy(p, s, &r, &m) && !close_copy(p, s, &r, &m))
		count_lost();
	if (!bpf_seq_write(ctx->meta->seq, &r, sizeof(r)))
		s->done = 1;
	return 0;
}
