//go:build ignore

// SPDX-License-Identifier: GPL-2.0
/*
 * Which kernel locks the target's threads wait for: contention_begin and
 * contention_end, which the kernel passes only when a lock is not free.
 *
 * A wait has phases: a mutex spins while its owner runs and then sleeps, and
 * tells each change by another contention_begin of the same lock. Inside a wait
 * there may be another, of the lock's own wait_lock or of an interrupt, so the
 * open waits of a thread are a small pile. The tables are made before the window
 * and nothing is allocated here: this runs wherever any lock is taken.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "target.h"
#include "window.h"
#include "locks.h"

char LICENSE[] SEC("license") = "GPL";

/* Locks that are known by their address: those of the current thread's own objects. */
enum known { OTHER, MMAP_LOCK, PAGE_TABLE_LOCK, SIGLOCK, FILE_LOCK, PI_LOCK, CRED_GUARD_MUTEX, EXEC_UPDATE_LOCK };

/* What is counted apart. */
struct class {
	__u64 address; /* of OTHER, when the lock is a variable of the kernel; else 0 */
	__u32 known;
	__s32 stack; /* in stacks, or negative */
	__u32 flags; /* LCB_F_*, of a mutex without LCB_F_SPIN */
	__u32 pad;
};

struct total {
	__u64 count;
	__u64 spin_ns;  /* waited on the CPU */
	__u64 sleep_ns; /* and off it, until it ran again */
	__u64 longest_ns;
};

struct holder_key {
	struct class class;
	__u32 tgid;
	__u32 tid;
};

/* Who held the lock when a wait for it began. */
struct holder {
	__u64 count;
	__u64 wait_ns;
	char comm[16];
};

#define DEPTH 3

struct open_wait {
	__u64 lock;
	__u64 since; /* of the phase */
	__u64 spin_ns, sleep_ns; /* of the phases before */
	__u64 owner; /* a task, or 0 */
	struct class class;
	__u32 spins; /* in this phase */
	__u32 pad;
};

struct open_waits {
	__u32 depth;
	__u32 pad;
	struct open_wait pile[DEPTH];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32); /* thread id */
	__type(value, struct open_waits);
} waiting SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct class);
	__type(value, struct total);
} totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, struct holder_key);
	__type(value, struct holder);
} holders SEC(".maps");

#define FRAMES 32

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 4096);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, FRAMES * sizeof(__u64));
} stacks SEC(".maps");

volatile __u64 image_start, image_end; /* where the kernel's own variables are */
volatile __u64 unnamed_holders;        /* waits whose holder had no room in holders */

/*
 * Inside one, because the wait_lock of a mutex belongs to the mutex. Objects are
 * numbers here: the verifier does not compare pointers.
 */
#define IS(type, object, field) \
	((object) && lock - ((object) + bpf_core_field_offset(type, field)) < bpf_core_field_size(type, field))

static __always_inline __u32 known_lock(struct task_struct *task, __u64 lock)
{
	struct task_struct___locks *p = (void *)task;
	__u64 self = bpf_get_current_task(); /* the same, as a number */
	__u64 mm = (__u64)BPF_CORE_READ(p, mm);
	__u64 sighand = (__u64)BPF_CORE_READ(p, sighand);
	__u64 sig = (__u64)BPF_CORE_READ(p, signal);
	__u64 files = (__u64)BPF_CORE_READ(p, files);

	if (IS(struct mm_struct, mm, mmap_lock))
		return MMAP_LOCK;
	if (IS(struct mm_struct, mm, page_table_lock))
		return PAGE_TABLE_LOCK;
	if (IS(struct sighand_struct, sighand, siglock))
		return SIGLOCK;
	if (IS(struct files_struct, files, file_lock))
		return FILE_LOCK;
	if (IS(struct task_struct___locks, self, pi_lock))
		return PI_LOCK;
	if (IS(struct signal_struct, sig, cred_guard_mutex))
		return CRED_GUARD_MUTEX;
	if (IS(struct signal_struct, sig, exec_update_lock))
		return EXEC_UPDATE_LOCK;
	return OTHER;
}

/*
 * The task that holds the lock, where the lock says so. Of a reader-owned
 * rw_semaphore the kernel keeps the last reader only as a hint: not taken.
 */
static __always_inline __u64 owner_of(__u64 lock, __u32 flags)
{
	atomic64_t owner = {};

	if (flags & (LCB_F_PERCPU | LCB_F_RT))
		return 0;
	if (flags & LCB_F_MUTEX) {
		if (bpf_probe_read_kernel(&owner, sizeof(owner), &((struct mutex *)lock)->owner))
			return 0;
	} else if (!(flags & LCB_F_SPIN) && flags & (LCB_F_READ | LCB_F_WRITE)) {
		if (bpf_probe_read_kernel(&owner, sizeof(owner), &((struct rw_semaphore *)lock)->owner))
			return 0;
		if (owner.counter & RWSEM_READER_OWNED)
			return 0;
	}
	return owner.counter & ~OWNER_FLAGS;
}

/*
 * The task may be gone by the time it is read: memory that is not a task any more
 * gives a name of noise, which is rare, bounded and printed with care.
 */
static __always_inline void count_holder(struct open_wait *w, __u64 wait)
{
	struct task_struct *p = (void *)w->owner;
	struct holder_key key = {.class = w->class};
	struct holder first = {.count = 1, .wait_ns = wait}, *h;

	key.tid = BPF_CORE_READ(p, pid);
	key.tgid = BPF_CORE_READ(p, tgid);
	if (!key.tid)
		return;
	h = bpf_map_lookup_elem(&holders, &key);
	if (h) {
		__sync_fetch_and_add(&h->count, 1);
		__sync_fetch_and_add(&h->wait_ns, wait);
		return;
	}
	bpf_core_read(first.comm, sizeof(first.comm), &p->comm);
	if (bpf_map_update_elem(&holders, &key, &first, BPF_NOEXIST))
		__sync_fetch_and_add(&unnamed_holders, 1);
}

/* Two CPUs may raise the longest at once; one of two close values is then kept. */
static __always_inline void count_wait(struct open_wait *w)
{
	__u64 wait = w->spin_ns + w->sleep_ns;
	struct total first = {}, *t = lookup_or_add(&totals, &w->class, &first);

	if (!t)
		return;
	__sync_fetch_and_add(&t->count, 1);
	__sync_fetch_and_add(&t->spin_ns, w->spin_ns);
	__sync_fetch_and_add(&t->sleep_ns, w->sleep_ns);
	if (wait > t->longest_ns)
		t->longest_ns = wait;
	if (w->owner)
		count_holder(w, wait);
}

static __always_inline void end_phase(struct open_wait *w, __u64 now)
{
	__u64 ns = span(w->since, now);

	if (w->spins)
		w->spin_ns += ns;
	else
		w->sleep_ns += ns;
	w->since = now;
}

static __always_inline void open(void *ctx, struct task_struct *task, struct open_wait *w, __u64 lock, __u32 flags, __u64 now)
{
	w->lock = lock;
	w->since = now;
	w->spin_ns = w->sleep_ns = 0;
	w->spins = flags & LCB_F_SPIN;
	w->owner = owner_of(lock, flags);
	w->class.known = known_lock(task, lock);
	w->class.address = !w->class.known && lock >= image_start && lock < image_end ? lock : 0;
	w->class.flags = flags & LCB_F_MUTEX ? flags & ~LCB_F_SPIN : flags;
	w->class.pad = 0;
	w->class.stack = bpf_get_stackid(ctx, &stacks, 0);
}

static __always_inline struct open_waits *waits_of(__u32 tid)
{
	struct open_waits *o = bpf_map_lookup_elem(&waiting, &tid), none = {};

	if (o)
		return o;
	bpf_map_update_elem(&waiting, &tid, &none, BPF_NOEXIST);
	o = bpf_map_lookup_elem(&waiting, &tid);
	if (!o)
		count_lost();
	return o;
}

SEC("tp_btf/contention_begin")
int BPF_PROG(on_contention_begin, void *lock, unsigned int flags)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 now = bpf_ktime_get_ns();
	struct open_waits *o;
	__u32 depth;

	if (!in_target(task))
		return 0;
	o = waits_of(task->pid);
	if (!o)
		return 0;
	depth = o->depth;
	if (depth && depth <= DEPTH) {
		struct open_wait *w = &o->pile[depth - 1];

		if (w->lock == (__u64)lock) {
			end_phase(w, now);
			w->spins = flags & LCB_F_SPIN;
			return 0;
		}
	}
	/*
	 * One that sleeps is never inside another, and no pile is deeper than a lock, its
	 * wait_lock and an interrupt's: what is there has ended where this did not see it.
	 */
	if (depth >= DEPTH || !(flags & (LCB_F_SPIN | LCB_F_RT)))
		depth = 0;
	open(ctx, task, &o->pile[depth], (__u64)lock, flags, now);
	o->depth = depth + 1;
	return 0;
}

/* Ends the wait at i and forgets those inside it. */
static __always_inline void end_at(struct open_waits *o, __u32 i, __u32 tid, __u64 now)
{
	struct open_wait *w = &o->pile[i];

	end_phase(w, now);
	if (w->spin_ns + w->sleep_ns)
		count_wait(w);
	o->depth = i;
	if (!i)
		bpf_map_delete_elem(&waiting, &tid);
	else /* what was waited inside a wait is counted once */
		o->pile[i - 1].since += w->spin_ns + w->sleep_ns;
}

SEC("tp_btf/contention_end")
int BPF_PROG(on_contention_end, void *lock)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 tid = bpf_get_current_pid_tgid();
	struct open_waits *o = bpf_map_lookup_elem(&waiting, &tid);

	if (!o)
		return 0;
	for (int i = DEPTH - 1; i >= 0; i--) {
		if (i < o->depth && o->pile[i].lock == (__u64)lock) {
			end_at(o, i, tid, now);
			break;
		}
	}
	return 0;
}
