//go:build ignore

// SPDX-License-Identifier: GPL-2.0
/*
 * Who waits in futex(2) for which address, and who wakes whom, without tracing
 * system calls: a thread that blocks is in sched_switch with the registers of its
 * call, and the thread that wakes it is current in sched_waking with those of its
 * own. A wake by a timer, a signal or an exit has no waker.
 *
 * Whether an address is a lock is not decided here. What is counted for that: the
 * value the word had to have (a lock's is the same all the time), how many were
 * woken at once, whether who wakes also waits, and for how much of the time with a
 * waiter somebody who waited before had it and then woke the next.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "target.h"
#include "window.h"
#include "stack.h"
#include "calls.h"

char LICENSE[] SEC("license") = "GPL";

#define TASK_INTERRUPTIBLE 1

struct address {
	__u64 address;
	__u32 tgid; /* 0: shared between processes */
	__u32 pad;
};

struct word {
	__u64 waits;
	__u64 same;      /* of them for the value of the first, */
	__u64 zero;      /* and for 0 */
	__u64 pi;        /* of them by FUTEX_LOCK_PI */
	__u64 contended; /* ns with a waiter */
	__u64 since;     /* begin of the time with a waiter */
	__u64 wakes;     /* threads that were woken here */
	__u64 many;      /* of them by a call that may wake more than one */
	__u64 by_waiters; /* of them by a thread that had waited here until then */
	__u32 waiting;   /* threads, now */
	__u32 value;     /* of the first wait */
	__u32 sampled;   /* stacks */
	__u32 pad;
};

struct part_key {
	struct address at;
	__u32 tid;
	__u32 tgid;
};

/* One thread at one address. */
struct part {
	__u64 waits;
	__u64 wait_ns;
	__u64 longest_ns;
	__u64 unwoken; /* waits that ended without a waker: a timer, a signal, an exit */
	__u64 wakes;   /* threads it woke */
	__u64 held_ns; /* from when it may have got it (woken, or gave it away and took it again) until it woke the next; with a waiter */
	__u64 held;
	__u64 longest_held_ns;
	__u64 acquired; /* 0: waits, or never got it */
	__u64 next_wait_sample, next_held_sample; /* of wait_ns and held_ns */
	char comm[16];
};

struct open_wait {
	struct address at;
	__u64 since;
	__u32 tgid;
	__u32 stack; /* NO_STACK: not sampled */
};

/* What a stack in stacks is of. */
struct sample {
	struct address at;
	__u64 ns; /* of the wait, or of the holding that it ended */
	__u32 holder;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct address);
	__type(value, struct word);
} words SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct part_key);
	__type(value, struct part);
} parts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32); /* thread id */
	__type(value, struct open_wait);
} waiting SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256); /* as stacks */
	__type(key, __u32);
	__type(value, struct sample);
} samples SEC(".maps");

/*
 * Stacks are taken where it looks like a lock: after LOOKS_LIKE wakes by waiters,
 * one in SAMPLE_NS of waiting or of holding a thread, PER_WORD of each address.
 */
#define LOOKS_LIKE 4
#define SAMPLE_NS 50000000ull
#define PER_WORD 48

static __always_inline struct word *word_at(struct address *at)
{
	struct word none = {};

	return lookup_or_add(&words, at, &none);
}

static __always_inline struct part *part_of(struct address *at, struct task_struct *p)
{
	struct part_key key = {.at = *at, .tid = p->pid, .tgid = p->tgid};
	struct part *w = bpf_map_lookup_elem(&parts, &key), none = {};

	if (w)
		return w;
	bpf_core_read(none.comm, sizeof(none.comm), &p->comm);
	bpf_map_update_elem(&parts, &key, &none, BPF_NOEXIST);
	w = bpf_map_lookup_elem(&parts, &key);
	if (!w)
		count_lost();
	return w;
}

/* A stack of the current thread for the word, or NO_STACK. */
static __always_inline __u32 sample(struct word *w, struct address *at, __u32 holder, __u64 ns)
{
	struct sample *of;
	struct stack *s;
	__u32 id;

	if (w->by_waiters < LOOKS_LIKE || w->sampled >= PER_WORD)
		return NO_STACK;
	__sync_fetch_and_add(&w->sampled, 1);
	s = next_stack(&id);
	of = bpf_map_lookup_elem(&samples, &id);
	if (!s || !of)
		return NO_STACK;
	capture_user_stack(s);
	of->at = *at;
	of->ns = ns;
	of->holder = holder;
	return id;
}

/* Nobody else writes to a thread's part while it begins to wait. */
static __always_inline bool count_begin(struct open_wait *o, struct task_struct *p, struct call *c, enum doing what)
{
	struct word *w = word_at(&o->at);
	struct part *me = part_of(&o->at, p);

	if (!w || !me)
		return false;
	if (!__sync_fetch_and_add(&w->waiting, 1))
		w->since = o->since;
	if (in_window(o->since)) {
		if (!__sync_fetch_and_add(&w->waits, 1))
			w->value = c->value;
		if (what == LOCKS_PI)
			__sync_fetch_and_add(&w->pi, 1);
		else if (!c->value)
			__sync_fetch_and_add(&w->zero, 1);
		else if (c->value == w->value)
			__sync_fetch_and_add(&w->same, 1);
		me->waits++;
	}
	me->acquired = 0;
	if (me->wait_ns >= me->next_wait_sample) {
		o->stack = sample(w, &o->at, 0, 0);
		if (o->stack != NO_STACK)
			me->next_wait_sample = me->wait_ns + SAMPLE_NS;
	}
	return true;
}

/* The current thread has woken one that waited at the address. */
static __always_inline void count_wake(struct open_wait *o, struct word *w, struct task_struct *p, struct call *c, __u64 now)
{
	struct part *me = part_of(&o->at, p);

	if (!me)
		return;
	if (!in_window(now)) {
		me->acquired = now;
		return;
	}
	me->wakes++;
	__sync_fetch_and_add(&w->wakes, 1);
	if (c->value > 1)
		__sync_fetch_and_add(&w->many, 1);
	if (me->waits)
		__sync_fetch_and_add(&w->by_waiters, 1);
	if (!me->acquired && !me->waits && me->wakes == 1)
		me->acquired = window_start; /* it had it when this began to look */
	if (me->acquired) {
		__u64 from = me->acquired, ns;

		if (from < w->since)
			from = w->since;
		ns = span(from, now);
		me->held++;
		me->held_ns += ns;
		if (ns > me->longest_held_ns)
			me->longest_held_ns = ns;
		if (me->held_ns >= me->next_held_sample && sample(w, &o->at, 1, ns) != NO_STACK)
			me->next_held_sample = me->held_ns + SAMPLE_NS;
	}
	me->acquired = now; /* if it takes it again without waiting, nothing tells when */
}

/* A timer, a signal or an exit ended the wait: it got nothing. */
static __always_inline void count_unwoken(struct open_wait *o, struct task_struct *p, __u64 now)
{
	struct part *me = part_of(&o->at, p);

	if (!me)
		return;
	me->acquired = 0;
	if (in_window(now))
		me->unwoken++;
}

/* The wait of p is over. Removes it from waiting: o is a copy. */
static __always_inline struct word *end_wait(struct task_struct *p, struct open_wait *o, __u64 now)
{
	struct word *w = bpf_map_lookup_elem(&words, &o->at);
	struct part *me = part_of(&o->at, p);
	__u64 ns = span(o->since, now);
	__u32 tid = p->pid;

	bpf_map_delete_elem(&waiting, &tid);
	if (!w || !me)
		return 0;
	me->wait_ns += ns;
	if (ns > me->longest_ns)
		me->longest_ns = ns;
	me->acquired = now;
	if (o->stack != NO_STACK) {
		struct sample *s = bpf_map_lookup_elem(&samples, &o->stack);

		if (s)
			s->ns = ns;
	}
	return w;
}

static __always_inline void leave(struct word *w, __u64 now)
{
	if (__sync_fetch_and_sub(&w->waiting, 1) == 1)
		__sync_fetch_and_add(&w->contended, span(w->since, now));
}

static __always_inline void begin_wait(struct task_struct *p, struct call *c, enum doing what)
{
	struct open_wait o = {.stack = NO_STACK};
	__u32 tid = p->pid;

	o.since = bpf_ktime_get_ns();
	o.tgid = p->tgid;
	o.at.address = c->address;
	o.at.tgid = c->shared ? 0 : p->tgid;
	if (count_begin(&o, p, c, what) && bpf_map_update_elem(&waiting, &tid, &o, BPF_ANY))
		count_lost();
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	struct call c = {};
	enum doing what;
	struct open_wait *stale, o;
	__u32 tid = next->pid;
	struct word *w;

	/* Woken on another CPU while it was on its way here: its wait was none. */
	stale = bpf_map_lookup_elem(&waiting, &tid);
	if (stale) {
		o = *stale;
		w = end_wait(next, &o, o.since);
		if (w)
			leave(w, o.since);
	}
	/* A futex wait can be interrupted; what cannot, inside the call, is another wait. */
	if (preempt || !(prev->__state & TASK_INTERRUPTIBLE))
		return 0;
	what = call_of(prev, &c);
	if ((what == WAITS || what == LOCKS_PI) && in_target(prev))
		begin_wait(prev, &c, what);
	return 0;
}

SEC("tp_btf/sched_waking")
int BPF_PROG(on_waking, struct task_struct *p)
{
	struct task_struct *self = bpf_get_current_task_btf();
	__u32 tid = p->pid;
	struct open_wait *found = bpf_map_lookup_elem(&waiting, &tid), o;
	__u64 now = bpf_ktime_get_ns();
	struct call c = {};
	struct word *w;

	if (!found)
		return 0;
	o = *found;
	w = end_wait(p, &o, now);
	if (!w)
		return 0;
	/* A waker in another process has the address of a shared word only. */
	if (call_of(self, &c) == WAKES && (c.address == o.at.address || c.other == o.at.address) &&
	    (o.at.tgid ? self->tgid == o.at.tgid : in_target(self)))
		count_wake(&o, w, self, &c, now);
	else
		count_unwoken(&o, p, now);
	leave(w, now);
	return 0;
}
