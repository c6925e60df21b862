/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Who holds the CPUs: on-CPU time by task group of the whole machine, and idle
 * time. And behind whom a thread of the target waits: who held the CPU in whose
 * queue it was.
 */
#pragma once

/* Behind whom a wait for a CPU can be: kmend's own process counts for itself. Not of an idle CPU. */
enum holder { OWN, OTHERS, KMEND, NUM_HOLDERS, NOBODY = NUM_HOLDERS };

struct cpu_slot {
	__u64 since;  /* last switch; one before the window counts from its start */
	__u64 idle;
	__u64 cgroup; /* the group that ran last, and its time not yet in holders */
	__u64 ns;
	__u64 rest;   /* of groups for which holders had no room */
	__u64 held[NUM_HOLDERS]; /* until since */
	__u32 running; /* enum holder, since then */
	volatile __u32 seq; /* odd while a switch changes the slot: other CPUs read it */
	__u64 pad[7];  /* 128 bytes: no two CPUs write to one cache line */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY); /* not one a CPU: a wait may be looked at from any */
	__uint(max_entries, 1024); /* user space sets it to the CPUs */
	__type(key, __u32);
	__type(value, struct cpu_slot);
} cpu_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64); /* kernfs id of the task group's cgroup */
	__type(value, __u64);
} holders SEC(".maps");

volatile __u32 kmend_tgid; /* who runs begin_threads */

static __always_inline __u32 holder_of(struct task_struct *p, bool own)
{
	if (own)
		return OWN;
	if (!p->pid)
		return NOBODY;
	return p->tgid == kmend_tgid ? KMEND : OTHERS;
}

static __always_inline void flush_holder(struct cpu_slot *c)
{
	__u64 *sum = bpf_map_lookup_elem(&holders, &c->cgroup);

	if (sum)
		*sum += c->ns;
	else if (bpf_map_update_elem(&holders, &c->cgroup, &c->ns, BPF_NOEXIST))
		c->rest += c->ns;
}

/* prev leaves this CPU, and next, of that holder, gets it. */
static __always_inline void count_holder(struct task_struct *prev, __u32 next, const struct moment *m)
{
	__u32 cpu = bpf_get_smp_processor_id(), ended;
	struct cpu_slot *c = bpf_map_lookup_elem(&cpu_slots, &cpu);
	__u64 ran, id;

	if (!c)
		return;
	ran = span(m, c->since, m->now);
	ended = c->running;
	c->seq |= 1; /* right again after user space has emptied the slot in between */
	barrier();
	if (ended < NUM_HOLDERS)
		c->held[ended] += ran;
	c->since = m->now;
	c->running = next;
	barrier();
	c->seq++;
	if (!ran)
		return;
	if (!prev->pid) {
		c->idle += ran;
		return;
	}
	id = task_group_id(prev);
	if (id != c->cgroup) {
		if (c->ns)
			flush_holder(c);
		c->cgroup = id;
		c->ns = 0;
	}
	c->ns += ran;
}

/* A living thread that is on a CPU when the window is prepared. */
static __always_inline void note_running(struct task_struct *p, bool own)
{
	__u32 cpu = p->thread_info.cpu;
	struct cpu_slot *c = bpf_map_lookup_elem(&cpu_slots, &cpu);

	if (c && !c->since) /* a switch knows better */
		c->running = holder_of(p, own);
}

struct held {
	__u64 ns[NUM_HOLDERS];
};

/*
 * How long each has held a CPU in the window, at the moment. What is read while the
 * CPU switches is wrong by a time slice at most, and no wait gets longer by it.
 */
static __always_inline struct held held_on(__u32 cpu, const struct moment *m)
{
	struct cpu_slot *c = bpf_map_lookup_elem(&cpu_slots, &cpu);
	struct held h = {};

	for (int i = 0; c && i < 2; i++) { /* a switch takes less than two looks */
		__u32 seq = c->seq, running;

		barrier();
		for (int who = 0; who < NUM_HOLDERS; who++)
			h.ns[who] = c->held[who];
		running = c->running;
		if (running < NUM_HOLDERS)
			h.ns[running] += span(m, c->since, m->now);
		barrier();
		if (!(seq & 1) && seq == c->seq)
			break;
	}
	return h;
}

/* A wait begins on the thread's CPU. */
static __always_inline void begin_behind(struct task_struct *p, struct thread_state *s, const struct moment *m)
{
	struct held h;

	s->cpu = p->thread_info.cpu;
	h = held_on(s->cpu, m);
	for (int who = 0; who < NUM_HOLDERS; who++)
		s->held0[who] = h.ns[who];
}

/* A waiting thread goes to another CPU: it takes with it what it has waited. */
static __always_inline void move_behind(struct thread_state *s, __u32 to, const struct moment *m)
{
	struct held h = held_on(s->cpu, m), there = held_on(to, m);

	for (int who = 0; who < NUM_HOLDERS; who++)
		s->held0[who] += there.ns[who] - h.ns[who];
	s->cpu = to;
}

/*
 * A wait of so many ns ends, or what of one was not throttled. A throttled group
 * does not run, so where the target is one group its threads held the CPU in the rest,
 * and come first; a target of several groups may have had it while one was throttled.
 */
static __always_inline void end_behind(struct thread_state *s, __u64 wait, const struct moment *m)
{
	struct held h = held_on(s->cpu, m);

	for (int i = 0; i < NUM_HOLDERS; i++) {
		__s64 ns = h.ns[i] - s->held0[i];

		if (ns <= 0)
			continue;
		if (ns > wait)
			ns = wait;
		s->behind[i] += ns;
		wait -= ns;
	}
}
